"""Progress with a time left, on the error stream, never mixed with output: a bar, or in logs a line a minute."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; the function it gives advances it by so many units."""
    with described_bar(what, total) as advance:
        yield lambda amount: advance(amount, what)


@contextmanager
def described_bar(what: str, total: int, *, lines: bool = True) -> Iterator[Callable[[float, str], None]]:
    """As `progress_bar`, with words in front of the bar that may change whenever it advances.

    Args:
        what: the words to begin with.
        total: units there are.
        lines: whether there is a line now and then where the error stream is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell_now_and_then(total) if lines else lambda amount, words: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Even an empty bar leaves a line break behind. What is printed meanwhile would be sent to the error stream, which
    # only a terminal that shows both can want.
    shared = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, redirect_stdout=shared) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount, words: bar.update(task, advance=amount, description=words)


def _tell_now_and_then(total: int) -> Callable[[float, str], None]:
    """Advance as a bar does, with a line where enough time has passed since the last."""
    import click

    done, told = 0.0, time.monotonic()
    before: float | None = None

    def advance(amount: float, words: str) -> None:
        nonlocal done, before, told
        done += amount
        passed = time.monotonic() - told
        if passed < _SECONDS_BETWEEN_LINES:
            return
        left = ""
        # In the first minute a run that is taken up again counts what was done before.
        if before is not None and done > before:
            left = f" · {_in_words((total - done) * passed / (done - before))} left"
        click.echo(f"{words} · {f'{done:,.1f}'.removesuffix('.0')} of {total:,}{left}", err=True)
        before, told = done, told + passed

    return advance


def _in_words(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds > 7200 else f"{seconds / 60:,.0f} min"
