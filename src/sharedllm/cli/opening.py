"""The base a command works on, with the injection attached, and the general text beside it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sharedllm.adapters.injection import Injection
    from sharedllm.base.loading import Base
    from sharedllm.evaluation.perplexity import Windows


@dataclass(frozen=True, eq=False)
class Opened:
    """A loaded base and the injection of one format on it."""

    base: "Base"
    injection: "Injection"


def open_base(name: str, format: str = "norm") -> Opened:
    """Load a base, saying so on a terminal, and attach a format's injection.

    Raises:
        BaseError, UnknownName: see `load_base` and `layout_of`.
    """
    from sharedllm.adapters.injection import Injection
    from sharedllm.adapters.layouts import layout_of
    from sharedllm.base.loading import load_base

    click.echo(f"loading {name}…", err=True)
    base = load_base(name)
    return Opened(base, Injection(base, layout_of(base, format)))


def general_windows(base: "Base", block: str, window: int) -> "Windows":
    """General text as windows: its ``validation`` block for the gate, its ``heldout`` block for reports."""
    from sharedllm.text.samples import general_text
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import windows

    return windows(base.encode(getattr(split_text(general_text()), block)), window)
