"""How commands print: nothing can steer a terminal, and JSON is the same through any pipe."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any, TextIO

import click

from sharedllm.printable import printable


def print_json(value: Any, file: TextIO | None = None) -> None:
    # ASCII only, so that neither a terminal nor a pipe's encoding can change what an id is.
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat), file=file)


def print_json_list(values: Iterable[Any]) -> None:
    """What `print_json` prints of a list, each value as it is read: there may be millions."""
    end = "[]"
    for place, value in enumerate(values):
        item = json.dumps(value, indent=2, default=datetime.isoformat).replace("\n", "\n  ")
        click.echo(("," if place else "[") + f"\n  {item}", nl=False)
        end = "\n]"
    click.echo(end)


def print_line(value: Any) -> None:
    """A JSON object on a line of its own, written at once: a program reads it while the command goes on."""
    click.echo(json.dumps(value))


def print_table(head: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    cells = [*rows]
    print_long_table(head, lambda: cells)


def print_long_table(head: Sequence[str] | None, rows: Callable[[], Iterable[Sequence[str]]]) -> None:
    """Print a table whose rows are read twice, for how wide they are and to show them, and never held all at once."""
    # Imported here to keep --help fast. It knows that some characters take two columns and some none.
    from rich.cells import cell_len

    def cells() -> Iterator[list[str]]:
        for row in chain([head] if head else [], rows()):
            yield [printable(cell) for cell in row]

    widths: list[int] = []
    for row in cells():
        widths = [max(pair) for pair in zip_longest(widths, map(cell_len, row), fillvalue=0)]
    for row in cells():
        line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
