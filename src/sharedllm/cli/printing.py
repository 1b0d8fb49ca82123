"""How commands print: nothing can steer a terminal, and JSON is the same through any pipe."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, zip_longest
from shutil import get_terminal_size
from typing import Any, TextIO

import click

from sharedllm.adapters.provenance import GREW_FROM
from sharedllm.printable import printable

_LISTED = 6


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


def exit_status(*, failed: bool, held_back: bool) -> int:
    """What a command that trains exits with: 2 if anybody failed, else 3 if anybody is held back, else 0."""
    return 2 if failed else 3 if held_back else 0


def in_words(value: Any) -> str:
    """A JSON value for people: numbers rounded, names with spaces, an interval as one, long lists cut short."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        if value.keys() >= {"estimate", "low", "high"}:
            return f"{value['estimate']:+.1%} ({value['low']:+.1%} to {value['high']:+.1%})"
        return ", ".join(f"{str(name).replace('_', ' ')} {in_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(in_words(each) for each in value[:_LISTED])
        return shown if len(value) <= _LISTED else f"{shown} and {len(value) - _LISTED:,} more"
    return str(value)


def gate_in_words(name: str, value: Any) -> str:
    """One of a gate's figures in words: what is better has a plus on both texts, and shares are in per cent."""
    if name == "general" and isinstance(value, Mapping):
        return in_words({"improvement" if key == "change" else key: each for key, each in value.items()})
    if name == "general_tolerance" and isinstance(value, float):
        return f"may get worse by {value:.0%}"
    if name == "given_away" and isinstance(value, Mapping) and all(isinstance(each, float) for each in value.values()):
        shares = ", ".join(f"{each:.0%} of {block}" for block, each in value.items())
        return f"{shares} also occurs in the training text"
    return in_words(value)


def origin_in_words(name: str, value: Any) -> str:
    """Something of an adapter's provenance in words: of what it grew from, how much that was made from."""
    if name != GREW_FROM or not isinstance(value, Mapping) or not isinstance(value.get("texts"), list):
        return in_words(value)
    texts, tokens = len(value["texts"]), value.get("tokens")
    read = f", {tokens:,} tokens" if isinstance(tokens, int) else ""
    return f"release {value.get('release')}, made from {texts:,} text{'' if texts == 1 else 's'}{read}"


def print_line(value: Any) -> None:
    """A JSON object on a line of its own, written at once: a program reads it while the command goes on."""
    click.echo(json.dumps(value))


def print_table(head: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Print a table. On a terminal that is too narrow for it cells are folded; piped, a row is a line."""
    cells = [[*row] for row in rows]
    if sys.stdout.isatty() and _width(head, cells) > get_terminal_size().columns:
        _print_folded(head, cells)
    else:
        print_long_table(head, lambda: cells)


def _width(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    columns = zip_longest(*([head] if head else []), *rows, fillvalue="")
    return sum(2 + max(cell_len(printable(cell)) for cell in column) for column in columns) - 2


def _print_folded(head: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=head is not None, header_style="")
    for name in head or rows[0]:
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(table)


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
