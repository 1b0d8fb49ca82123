"""Vector formats: each is a name and the ordered sites it acts on, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sharedllm.base.loading import Base
from sharedllm.base.sites import Site, ia3_sites, norm_sites, steering_sites
from sharedllm.errors import UnknownName

FORMATS: dict[str, Callable[[Any], tuple[Site, ...]]] = {
    "norm": norm_sites,
    "steering": steering_sites,
    "ia3": ia3_sites,
}
DEFAULT_FORMAT = "norm"
"""Decided by Bet 49 against larger adapters and by Bet 58 against a smaller one; see docs/bets/49.md and 58.md."""


@dataclass(frozen=True)
class Layout:
    """The ordered sites of one format on one base.

    Attributes:
        format: the format's name.
        base: fingerprint of the base the sites were found on.
        sites: in the order in which their values lie in a row.
    """

    format: str
    base: str
    sites: tuple[Site, ...]

    @property
    def widths(self) -> list[int]:
        """Values at each site."""
        return [site.width for site in self.sites]

    @property
    def size(self) -> int:
        """``P``, the number of values in one user's row."""
        return sum(self.widths)


def layout_of(base: Base, format: str = DEFAULT_FORMAT) -> Layout:
    """The layout of a format on a base.

    Raises:
        UnknownName: no such format.
        UnsupportedBase: the base has no sites for it.
    """
    check_format(format)
    return Layout(format, base.fingerprint, FORMATS[format](base.model))


def check_format(format: str) -> None:
    """Refuse what is no format.

    Raises:
        UnknownName: nothing is registered under the name.
    """
    if format not in FORMATS:
        raise UnknownName(f"{format!r} is not a vector format", remedy=f"Use one of: {', '.join(FORMATS)}.")
