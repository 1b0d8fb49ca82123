"""Whom `sharedllm keys create` makes keys for, from a file, and what it prints of several."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.errors import InvalidInput
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.store.keys import Key

FORMATS = ("csv", "jsonl")
_COLUMNS = ("user", "id", "label", "secret")


def read_holders(path: Path, label: str) -> list[tuple[str, str]]:
    """Users and the labels of their keys, from a file of one user a line, or of CSV with a column ``user``.

    Args:
        path: CSV if it is called so; a column ``label`` may name the key.
        label: where the file has none.

    Raises:
        InvalidInput: the file cannot be read, has nobody in it, or names on a line, which the message tells, nobody or
            somebody who was named before.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", remedy="Give a file of UTF-8 text.") from None
    if path.suffix.lower() == ".csv":
        return _checked(path, _rows(path, text, label))
    return _checked(
        path, ((number, line.strip(), label) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    )


def as_csv(made: Sequence[tuple[str, "Key"]]) -> str:
    """Keys and their secrets as CSV with a header."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows((key.user or "", key.id, key.label, secret) for secret, key in made)
    return out.getvalue()


def as_json_lines(made: Sequence[tuple[str, "Key"]]) -> str:
    """Keys and their secrets, a JSON object a line."""
    return "".join(
        json.dumps(dict(zip(_COLUMNS, (key.user, key.id, key.label, secret), strict=True))) + "\n"
        for secret, key in made
    )


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


def _rows(path: Path, text: str, label: str) -> Iterable[tuple[int, str, str]]:
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if "user" not in (table.fieldnames or ()):
            raise InvalidInput(
                f"{path} has no column 'user'", remedy="Write `user` on its first line, or name it .txt."
            )
        for row in table:
            yield table.line_num, row["user"] or "", row.get("label") or label
    except csv.Error as error:
        raise InvalidInput(f"Line {table.line_num} of {path} is not CSV: {error}", remedy="Correct it.") from None


def _checked(path: Path, lines: Iterable[tuple[int, str, str]]) -> list[tuple[str, str]]:
    holders = []
    for number, user, label in lines:
        try:
            holders.append((check_user_id(user), label))
        except InvalidInput as error:
            raise InvalidInput(f"Line {number} of {path}: {error.message}", remedy=error.remedy) from None
    if not holders:
        raise InvalidInput(f"{path} names nobody", remedy="Write a user a line in it.")
    check_distinct((user for user, _ in holders), str(path))
    return holders
