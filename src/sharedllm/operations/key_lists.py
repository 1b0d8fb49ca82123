"""Lists of whom API keys are made for and of what was made, as CSV or a line each."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sharedllm.errors import InvalidInput
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.store.api_keys import Key

COLUMNS = ("user", "id", "label", "secret")

_FORMULA = re.compile(r"'*[=+@\t\r-]")
"""What a cell begins with that a spreadsheet would calculate, and could send elsewhere what stands beside it; or that
was kept from that before."""


def holders_of_table(
    text: str, where: str, label: str = "", columns: Sequence[str] = ("user",)
) -> list[tuple[str, str]]:
    """Users and the labels of their keys, from CSV with a column ``user``, and perhaps ``label``.

    Args:
        text: separated by semicolons if its first line has those and no comma, as some spreadsheets write it.
        where: what to call it in a refusal.
        label: where it has none.
        columns: what the column of users may be called, in whatever case; the first that there is counts.

    Raises:
        InvalidInput: it is no such table, has nobody in it, or names on a line, which the message tells, nobody or
            somebody who was named before.
    """
    table = _table(text)
    there = _columns(table, where)
    column = next((each for each in columns if each in there), None)
    if column is None:
        raise InvalidInput(
            f"{where} has no column {' or '.join(map(repr, columns))}",
            remedy=f"Write `{columns[-1]}` above the names, on its first line.",
        )
    rows = _rows(table, where, column)
    return _checked(where, ((number, user, row.get("label") or label) for number, user, row in rows))


def holders_of_lines(text: str, where: str, label: str = "") -> list[tuple[str, str]]:
    """The same of a list of one user a line."""
    lines = ((number, line.strip(), label) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return _checked(where, lines)


def ids_of_table(text: str, where: str) -> list[str] | None:
    """The ids of keys in CSV with a column ``id``, as `as_csv` writes it; None where it has no such column.

    Raises:
        InvalidInput: it is not CSV, or has no id in it, or on a line, which the message tells.
    """
    table = _table(text)
    if "id" not in _columns(table, where):
        return None
    found = []
    for number, id, _ in _rows(table, where, "id"):
        if not id:
            raise InvalidInput(f"Line {number} of {where} has no id", remedy="Correct it; nothing was done.")
        found.append(id)
    if not found:
        raise InvalidInput(f"{where} names no key", remedy="Write the id of a key a line in it.")
    return found


def as_csv(made: Sequence[tuple[str, "Key"]]) -> str:
    """Keys and their secrets as CSV with a header.

    A cell that a spreadsheet would take for a formula has an apostrophe before it, which is taken off where it is read.
    """
    rows = ((_shown(key.user or ""), key.id, _shown(key.label), secret) for secret, key in made)
    return "".join(map(_line, (COLUMNS, *rows)))


def check_distinct(users: Iterable[str], where: str) -> None:
    """Refuse a list in which somebody is named twice, as by mistake.

    Raises:
        InvalidInput: somebody is.
    """
    seen: set[str] = set()
    for user in users:
        if user in seen:
            raise InvalidInput(f"{where} names {user!r} twice", remedy="Name everybody once; no key was made.")
        seen.add(user)


def _table(text: str) -> "csv.DictReader[str]":
    first = text.partition("\n")[0]
    separator = ";" if ";" in first and "," not in first else ","
    return csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)


def _columns(table: "csv.DictReader[str]", where: str) -> Sequence[str]:
    try:
        table.fieldnames = [each.strip().lower() for each in table.fieldnames or ()]
        return table.fieldnames
    except csv.Error as error:
        raise _not_csv(table, where, error) from None


def _rows(table: "csv.DictReader[str]", where: str, column: str) -> Iterable[tuple[int, str, dict[str, str]]]:
    """Lines, by number, with what is in a column."""
    try:
        for row in table:
            cells = {name: _meant(cell) for name, cell in row.items() if isinstance(cell, str)}
            yield table.line_num, cells.get(column, ""), cells
    except csv.Error as error:
        raise _not_csv(table, where, error) from None


def _not_csv(table: "csv.DictReader[str]", where: str, error: csv.Error) -> InvalidInput:
    return InvalidInput(f"Line {table.line_num} of {where} is not CSV: {error}", remedy="Correct it.")


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    # A carriage return in a name begins a line, too, and Python 3.11 quotes those of its line ends alone.
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().removesuffix("\r\n") + "\n"


def _shown(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _meant(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _checked(where: str, lines: Iterable[tuple[int, str, str]]) -> list[tuple[str, str]]:
    holders = []
    for number, user, label in lines:
        try:
            holders.append((check_user_id(user), label))
        except InvalidInput as error:
            raise InvalidInput(f"Line {number} of {where}: {error.message}", remedy=error.remedy) from None
    if not holders:
        raise InvalidInput(f"{where} names nobody", remedy="Write a user a line in it.")
    check_distinct((user for user, _ in holders), where)
    return holders
