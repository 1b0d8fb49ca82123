"""Coordinates of a prior's frames, ``y += B (d * (A x))`` at every projection: zeros are the prior itself."""

from typing import Any

from sharedllm.adapters.formats.registry import Format
from sharedllm.base.frames import framed
from sharedllm.base.sites import Site
from sharedllm.errors import UnsupportedBase


def bank_sites(model: Any) -> tuple[Site, ...]:
    """Every projection that has a frame, in model order.

    Raises:
        UnsupportedBase: the base has no prior.
    """
    sites = tuple(
        Site(name, module.out_features, "diagonal", rank=len(module.frame_into))
        for name, module in framed(model).items()
    )
    if not sites:
        raise UnsupportedBase(
            f"This {type(model).__name__} is a bare base: it has no frames, whose coordinates the bank format holds",
            remedy="Use a base with a prior (sharedllm base list), make one (sharedllm base adapt), or use the norm"
            " format.",
        )
    return sites


FORMAT = Format("bank", bank_sites, about="coordinates of the prior's frames", learning_rate=1e-2)
