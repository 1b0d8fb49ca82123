"""Vector formats, one a file, and what it takes to write another: see docs/formats.md."""

from sharedllm.adapters.formats.registry import Format, register_format
from sharedllm.base.sites import Site, blocks, norm_sites

__all__ = ["Format", "Site", "blocks", "norm_sites", "register_format"]
