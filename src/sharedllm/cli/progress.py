"""Progress bars with a time left, on the terminal's error stream so that they never mix with output."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; the function it gives advances it by so many units.

    Where the error stream is no terminal, nothing is drawn.
    """
    with described_bar(what, total) as advance:
        yield lambda amount: advance(amount, what)


@contextmanager
def described_bar(what: str, total: int) -> Iterator[Callable[[float, str], None]]:
    """As `progress_bar`, with words in front of the bar that may change whenever it advances."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Even an empty bar leaves a line break behind. What is printed meanwhile would be sent to the error stream, which
    # only a terminal that shows both can want.
    shared = sys.stdout.isatty()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, redirect_stdout=shared
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount, words: bar.update(task, advance=amount, description=words)
