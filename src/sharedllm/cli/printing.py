"""How commands print: nothing can steer a terminal, and JSON is the same through any pipe."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

from sharedllm.printable import printable


def print_json(value: Any, file: TextIO | None = None) -> None:
    # ASCII only, so that neither a terminal nor a pipe's encoding can change what an id is.
    click.echo(json.dumps(value, indent=2, default=datetime.isoformat), file=file)


def print_line(value: Any) -> None:
    """A JSON object on a line of its own, written at once: a program reads it while the command goes on."""
    click.echo(json.dumps(value))


def print_table(head: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    # Imported here to keep --help fast. It knows that some characters take two columns and some none.
    from rich.cells import cell_len

    cells = [[printable(cell) for cell in row] for row in ([head] if head else []) + list(rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
