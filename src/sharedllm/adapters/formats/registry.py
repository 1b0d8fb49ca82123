"""The door through which every vector format comes: ours, those of installed packages, and a notebook's own.

Ours and installed ones are entry points, imported when they are first used. Nothing else in the package names a format.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sharedllm.base.sites import Site
from sharedllm.errors import FormatError, UnknownName

DEFAULT_FORMAT = "norm"
"""Decided by Bet 49 against larger adapters and by Bet 58 against a smaller one; see docs/bets/49.md and 58.md."""

GROUP = "sharedllm.formats"
"""The entry points in which an installed package names its formats."""

OURS = "sharedllm"
"""What brings the formats that everybody has."""

# Not in pyproject.toml: without them nothing works, and a checkout's metadata is as old as its last installation.
_OURS = tuple(
    EntryPoint(name, f"sharedllm.adapters.formats.{name.replace('+', '_')}:FORMAT", GROUP)
    for name in ("norm", "steering", "ia3", "bank", "norm+bank")
)
_NAME = re.compile(r"[a-z0-9]([a-z0-9._+-]{0,62}[a-z0-9])?")
_HOW = "or install the package that brings it, or call register_format (docs/formats.md)"


@dataclass(frozen=True)
class Format:
    """One vector format.

    Attributes:
        name: stored with every adapter; lower case letters, digits and ``._+-``.
        sites: where it acts in a model, as transformers made it, in the order in which a row's values lie. The order
            and the widths are what stored adapters mean: on the same base they never change under the same name.
        about: what of the base is adapted, in a few words, for whoever chooses.
        learning_rate: the adamw recipe's for this format; None where the recipe's own is right, as for most scales. The
            default recipe has no need of it: its steps are in units of the base's curvature.
        gains: whether every site is the output of a norm, so that a value is a change of that norm's gain, which
            recipes can train and other tools can hold.
    """

    name: str
    sites: Callable[[Any], Sequence[Site]]
    about: str = ""
    learning_rate: float | None = None
    gains: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise FormatError(
                f"{self.name!r} cannot be a format's name",
                remedy="Use at most 64 lower case letters, digits and ._+- in between.",
            )
        if not callable(self.sites):
            raise FormatError(
                f"The sites of format {self.name!r} are {self.sites!r}", remedy="Give a function from a model to sites."
            )
        rate = self.learning_rate
        if rate is not None and not (isinstance(rate, int | float) and 0 < rate < math.inf):
            raise FormatError(
                f"The learning rate of format {self.name!r} is {rate!r}",
                remedy="Give a finite number above 0, or None.",
            )

    def __hash__(self) -> int:
        # What finds the sites need not have one.
        return hash(self.name)


_registered: dict[str, Format] = {}


def register_format(format: Format, *, replace: bool = False) -> Format:
    """Make a format known in this process, and return it.

    Other processes, such as the workers of a fleet or of a server's trainings, know it only as an entry point.

    Args:
        format: the format.
        replace: whether one that was registered here under the name makes room, as when a notebook's cell runs again.

    Raises:
        FormatError: the name is taken.
    """
    if not isinstance(format, Format):
        raise FormatError(f"{format!r} is not a Format", remedy='Register Format("its-name", sites).')
    if packages := _installed().get(format.name, ()):
        if len(packages) == 1 and format_named(format.name) == format:
            return format
        raise _taken(format.name, packages)
    if format.name in _registered and not replace and _registered[format.name] != format:
        raise FormatError(
            f"{format.name!r} is the name of a format of this process",
            remedy="Give one of them another name; in a notebook, register with replace=True.",
        )
    _registered[format.name] = format
    return format


def format_names() -> tuple[str, ...]:
    """The names of all formats, ours first. Nothing is imported to find them."""
    return tuple({**_installed(), **_registered})


def format_named(name: str) -> Format:
    """A format.

    Raises:
        UnknownName: there is none of that name.
        FormatError: several are called so, or the package that brings it does not give one.
    """
    check_format(name)
    if name in _registered:
        return _registered[name]
    entry, *others = _installed()[name]
    if others:
        raise _taken(name, (entry, *others))
    try:
        found = entry.load()
    except Exception as error:
        raise FormatError(
            f"The format {name!r} of {_package(entry)} cannot be imported: {type(error).__name__}: {error}",
            remedy="Mend or uninstall that package.",
        ) from error
    if not isinstance(found, Format) or found.name != name:
        raise FormatError(
            f"{entry.value} of {_package(entry)} is not a Format called {name!r}",
            remedy=f"Have its entry point name a Format, under the Format's own name: {name!r} was found.",
        )
    return found


def check_format(name: str) -> None:
    """Refuse what is no format's name.

    Raises:
        UnknownName: nothing is known under it.
    """
    if name not in format_names():
        raise UnknownName(
            f"{name!r} is not a vector format", remedy=f"Use one of: {', '.join(format_names())}; {_HOW}."
        )


def brought_by(name: str) -> str | None:
    """Which package a format comes from, with its version if it is not this one; None if it was registered by a call.

    Raises:
        UnknownName: see `check_format`.
    """
    check_format(name)
    return None if name in _registered else _package(_installed()[name][0])


def check_reaches_others(name: str) -> None:
    """Refuse a format that only this process knows, where others are to train it.

    Raises:
        FormatError: it was registered by a call.
        UnknownName: see `check_format`.
    """
    check_format(name)
    if name in _registered:
        raise FormatError(
            f"The format {name!r} was registered in this process alone, and training runs in others",
            remedy=f"Bring it in a package with an entry point in {GROUP} (docs/formats.md), or train in this process.",
        )


def _installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    return _found(tuple(sys.path))


@lru_cache(maxsize=1)
def _found(path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Entry points by name; what they name differs where there are several."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in (*_OURS, *entry_points(group=GROUP)):
        others = found.get(entry.name, ())
        if entry.value not in [other.value for other in others]:
            found[entry.name] = (*others, entry)
    return found


def _package(entry: EntryPoint) -> str:
    return OURS if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _taken(name: str, packages: Sequence[EntryPoint]) -> FormatError:
    takers = [_package(each) for each in packages]
    mine = all(each == OURS for each in takers)
    return FormatError(
        f"{name!r} is the name of a format of {' and of '.join(takers)}",
        remedy=f"Give {'yours' if mine else 'one of them'} another name{'' if mine else ', or uninstall its package'}.",
    )
