"""Scales at every key, value and feed-forward intermediate (Liu et al. 2022, IA3, section 3.3)."""

from typing import Any, Literal

from sharedllm.adapters.formats.registry import Format
from sharedllm.base.sites import Site, blocks
from sharedllm.errors import UnsupportedBase

_WANTED: dict[str, tuple[str, Literal["output", "input"]]] = {
    "self_attn.k_proj": ("out_features", "output"),
    "self_attn.v_proj": ("out_features", "output"),
    "mlp.down_proj": ("in_features", "input"),
}


def ia3_sites(model: Any) -> tuple[Site, ...]:
    """The outputs of key and value projections, and the inputs of those that lead down, block by block.

    Raises:
        UnsupportedBase: the blocks do not name these projections the way Llama-like models do.
    """
    sites = []
    for block, module in blocks(model).items():
        parts = {name: part for name, part in module.named_modules() if hasattr(part, "in_features")}
        if not parts.keys() >= _WANTED.keys():
            raise UnsupportedBase(
                f"{type(model).__name__} has no {', '.join(sorted(_WANTED.keys() - parts.keys()))} in its blocks",
                remedy="Use another format on this base.",
            )
        for name, (width, at) in _WANTED.items():
            sites.append(Site(f"{block}.{name}", int(getattr(parts[name], width)), at=at))
    return tuple(sites)


FORMAT = Format("ia3", ia3_sites, about="scales of keys, values and feed-forward")
