"""The base a command works on, with the injection attached."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT

if TYPE_CHECKING:
    from sharedllm.adapters.injection import Injection
    from sharedllm.base.loading import Base


@dataclass(frozen=True, eq=False)
class Opened:
    """A loaded base and the injection of one format on it."""

    base: "Base"
    injection: "Injection"


def load(name: str) -> "Base":
    """Load a base, saying so on a terminal.

    Raises:
        BaseError, UnknownName: see `load_base`.
    """
    from sharedllm.base.loading import load_base

    click.echo(f"loading {name}…", err=True)
    return load_base(name)


def open_base(name: str, format: str = DEFAULT_FORMAT) -> Opened:
    """Load a base as `load` does, and attach a format's injection.

    Raises:
        BaseError, UnknownName: see `load_base` and `layout_of`.
    """
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of

    base = load(name)
    return Opened(base, Injection(base, layout_of(base, format)))
