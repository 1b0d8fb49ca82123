"""The gains of all norms and coordinates of a prior's frames together, the gains first."""

from typing import Any

from sharedllm.adapters.formats.bank import bank_sites
from sharedllm.adapters.formats.registry import Format
from sharedllm.base.sites import Site, norm_sites


def norm_bank_sites(model: Any) -> tuple[Site, ...]:
    """The sites of both formats.

    Raises:
        UnsupportedBase: see `norm_sites` and `bank_sites`.
    """
    return (*norm_sites(model), *bank_sites(model))


FORMAT = Format("norm+bank", norm_bank_sites, about="gains and coordinates of the prior's frames")
