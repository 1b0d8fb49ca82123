"""A format on a base: the ordered sites that a row of numbers acts on, and nothing else."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT, Format, format_named
from sharedllm.base.loading import Base
from sharedllm.base.sites import Site, activations, is_norm
from sharedllm.errors import FormatError, SharedLLMError, UnsupportedBase

_found: "WeakKeyDictionary[Any, dict[Format, tuple[Site, ...]]]" = WeakKeyDictionary()
"""By model, which nothing ever writes to: to look takes as long as a short pass."""


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
        return [site.size for site in self.sites]

    @cached_property
    def sites_sha256(self) -> str:
        """A hash of what and where the sites are, in their order: what a row's values mean."""
        meaning = [
            [site.name, site.width, site.kind, site.at, *([site.rank] if site.rank else [])] for site in self.sites
        ]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

    @property
    def size(self) -> int:
        """``P``, the number of values in one user's row."""
        return sum(self.widths)


def layout_of(base: Base, format: str = DEFAULT_FORMAT) -> Layout:
    """The layout of a format on a base.

    A few tokens are read to see that every site is reached and that its activation is what the format says of it: what
    is reached in another shape would give one user's values to another's tokens.

    Raises:
        UnknownName, FormatError: see `format_named`; or the format's sites are not where it says.
        UnsupportedBase: the base has no sites for it.
    """
    found = format_named(format)
    known = _found.setdefault(base.model, {})
    if found not in known:
        sites = _sites(found, base.model)
        _check_reached(found, base.model, sites)
        known[found] = sites
    return Layout(format, base.fingerprint, known[found])


def _sites(format: Format, model: Any) -> tuple[Site, ...]:
    try:
        sites = format.sites(model)
    except SharedLLMError:
        raise
    except Exception as error:
        raise _refusal(format, model, f"fails with {type(error).__name__}: {error}") from error
    if not isinstance(sites, Sequence) or not all(isinstance(site, Site) for site in sites):
        raise _refusal(
            format, model, f"gives {type(sites).__name__} instead of a tuple of Sites in an order that stays"
        )
    if not sites:
        raise UnsupportedBase(
            f"The format {format.name!r} finds no sites in {type(model).__name__}",
            remedy="Use another format on this base, or another base.",
        )
    places = [(site.name, site.at) for site in sites]
    for site, place in zip(sites, places, strict=True):
        if places.count(place) > 1:
            raise _refusal(format, model, f"names the {site.at} of {site.name!r} more than once")
    return tuple(sites)


def _check_reached(format: Format, model: Any, sites: tuple[Site, ...]) -> None:
    modules, body = dict(model.named_modules()), set(model.base_model.modules())
    for site in sites:
        if site.name not in modules:
            raise _refusal(format, model, f"names the module {site.name!r}, which is not there")
        if format.gains and (site.kind, site.at, is_norm(modules[site.name])) != ("scale", "output", True):
            raise _refusal(format, model, f"calls {site.name!r} a norm whose gain it scales, which it is not")
        if site.rank and site.rank != len(getattr(modules[site.name], "frame_into", ())):
            raise _refusal(format, model, f"names a frame of rank {site.rank} at {site.name!r}, which has no such one")
        if modules[site.name] not in body:
            raise _refusal(format, model, f"names {site.name!r}, which comes after the last hidden state")
    (batch, tokens), shapes = activations(model, sites)
    for site in sites:
        if site not in shapes:
            raise _refusal(format, model, f"names the {site.at} of {site.name!r}, which no text passes through")
        shape = shapes[site]
        last = len(shape) - 1
        fits = site.token_axis < last and (shape[0], shape[site.token_axis], shape[last]) == (batch, tokens, site.width)
        if not fits:
            raise _refusal(
                format,
                model,
                f"says that the {site.at} of {site.name!r} is {site.width} wide, with tokens along axis"
                f" {site.token_axis}, and for {batch} sequences of {tokens} tokens it is {list(shape)}",
            )


def _refusal(format: Format, model: Any, what: str) -> FormatError:
    return FormatError(
        f"The format {format.name!r} {what} (on {type(model).__name__})",
        remedy="Use another format on this base, or mend this one: see docs/formats.md.",
    )
