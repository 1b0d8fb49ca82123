"""Tables (csv, tsv) and JSON lines: the column that holds text, with who wrote it and when where that is said."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import PurePath
from typing import Any, BinaryIO

from sharedllm.text.conversations import people_in, recognise
from sharedllm.text.conversations.gathering import QUOTED, moment, parted_quotes, told_apart
from sharedllm.text.documents import Document, Turn
from sharedllm.text.readers.charsets import decode
from sharedllm.text.readers.column_names import (
    TEXT,
    TIMES,
    author_column,
    cells_of,
    may_be_a_name,
    names_author,
    says_direction,
    says_whose,
    words_of,
)
from sharedllm.text.readers.found import Unreadable, whole

_SENT = {"outgoing", "sent", "out", "outbound", "gesendet", "ausgehend", "envoyé", "enviado", "inviato", "verzonden"}
_RECEIVED = {
    "incoming",
    "received",
    "in",
    "inbound",
    "empfangen",
    "eingehend",
    "reçu",
    "recibido",
    "ricevuto",
    "ontvangen",
}
ME, OTHER, NAMELESS = "Me", "other", "(no name)"
"""Who wrote the rows of which a column says that they were sent, those that were received where no name is, and those
beside which others have names: a program may leave out the owner's, and what it tells itself has none."""

_SET = {"true", "1", "yes", "wahr", "ja", "vrai", "oui", "verdadero", "sí", "vero", "sì", "verdadeiro", "sim", "waar"}
_FLAGS = {*_SET, "false", "0", "no", "falsch", "nein", "faux", "non", "falso", "não", "onwaar", "nee"}
_OF_ANDROID = {"1", "2", "3", "4", "5", "6"}
"""Types of text messages in its own tables: received, sent, a draft, and what is not sent yet or could not be."""

_CALLED = ("name", "display_name", "displayName", "full_name", "nickname", "username", "first_name", "login", "email")

_CHATS = (
    "conversation id",
    "conversation_id",
    "conversationid",
    "chat id",
    "chat_id",
    "chat session",
    "thread id",
    "thread_id",
)
_TITLES = ("conversation title", "chat title", "thread title", "title", "chat name")
"""Columns that say of which chat a row is, and what that is called."""

_OF_MODELS = ({"prompt", "response"}, {"prompt", "completion"}, {"instruction", "output"}, {"instruction", "response"})
"""Columns of what a model was asked and what it answered."""

_PROSE = 40
_LOOKED_AT = 5_000
_SURELY = 3
_OTHERS = "other columns"


def read(file: BinaryIO, source: str) -> Iterator[Document]:
    """The conversations of an export, or one document of a turn a row."""
    data = whole(file)
    found = recognise(source, data)
    if found is not None:
        yield from found
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, _ = decode(data, error)
    ending = PurePath(source).suffix.lower()
    is_lines = ending in (".jsonl", ".ndjson")
    rows = _objects(text) if is_lines else named_rows(cells_of(text, "\t" if ending == ".tsv" else None))
    tables = tables_of(rows, source)
    _check_author(tables[0], rows)
    yield from tables


def _check_author(table: Document, rows: Sequence[Mapping[str, str]]) -> None:
    """Refuse a table that does not say who wrote its rows and has names beside its times, or before its text.

    Raises:
        Unreadable: it has.
    """
    if table.authors:
        return
    if any(name != _by_number(place) for row in rows[:1] for place, name in enumerate(row)):
        # What other columns are called they hold, and it is nobody's name.
        firsts = [(turn.when, turn.text.partition("\n")[0]) for turn in table.turns]
        lines = [f"{when:%d.%m.%Y %H:%M} {line}" if when else line for when, line in firsts]
    else:
        lines = ["\t".join(row.values()) for row in rows]
    people = people_in("\n".join(lines[:_LOOKED_AT]))
    if people:
        raise Unreadable(
            f"has names beside its times, like {people[0]!r}, and does not say whether they are of who wrote",
            remedy="Name the column of who wrote 'author' in its first line, or leave the names out.",
        )


def _objects(text: str) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise Unreadable(f"has no JSON on line {number:,}", remedy="See whether it is whole.") from error
            rows.append(row if isinstance(row, dict) else {"text": row})
    return _of_text(rows)


def _of_text(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{str(name): _cell(str(name), value) for name, value in row.items()} for row in rows]


def objects_tables(rows: Iterable[Mapping[str, Any]], source: str) -> list[Document]:
    """`tables_of` of the objects of JSON, of which one has to be called the text: programs write sentences into others.

    Raises:
        Unreadable: none is.
    """
    cells = _of_text(rows)
    if not any(name.strip().casefold() in TEXT and value for row in cells for name, value in row.items()):
        raise Unreadable(
            "is JSON in which nothing is called the text",
            remedy="Call what you wrote 'text', or give it as plain text.",
        )
    return tables_of(cells, source)


def _cell(name: str, value: Any) -> str:
    """A value as text: of an object that says who wrote the name in it, of others nothing."""
    if isinstance(value, bool):
        return str(value).lower() if says_whose(name) else ""
    if isinstance(value, str | int | float):
        return str(value)
    if not value or not names_author(name):
        return ""
    called = [value.get(each) for each in _CALLED] if isinstance(value, dict) else []
    return next((each for each in called if each and isinstance(each, str)), json.dumps(value, sort_keys=True))


def named_rows(table: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    """Rows of cells by the names in the first row that has any, or by their numbers where there are no names in it.

    So are columns that have no name, or one that an earlier column has.
    """
    names: list[str] | None = None
    rows = []
    for cells in table:
        if names is None:
            header = [cell.strip() for cell in cells]
            if not any(header):
                continue
            is_header = any(name.casefold() in TEXT for name in header) or all(map(may_be_a_name, header))
            known = {name: place for place, name in reversed(list(enumerate(header)))} if is_header else {}
            names = [
                name if name and known.get(name) == place else _by_number(place) for place, name in enumerate(header)
            ]
            if is_header:
                continue
        names += map(_by_number, range(len(names), len(cells)))
        rows.append(dict(zip(names, cells, strict=False)))
    return rows


def _by_number(place: int) -> str:
    return f"column {place + 1}"


def tables_of(rows: Sequence[dict[str, str]], source: str) -> list[Document]:
    """One document of a turn a row: of the column of text, with authors and times where columns say them.

    Where a column says of which chat a row is, one document a chat. Programs write the newest message first: turns are
    put in the order of their times, where all have one.

    Raises:
        Unreadable: no column is the text, or several may be.
    """
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes.update({name: len(value) for name, value in row.items()})
    column = _text_column(rows, sizes)
    said = [row for row in rows if row.get(column, "").strip()]
    owners = ((name, _of_owner(name, [row.get(name, "") for row in said], sizes.keys())) for name in sizes)
    direction, mine = next(((name, found) for name, found in owners if found), (None, frozenset()))
    author = author_column([name for name in sizes if name not in (column, direction) and sizes[name]])
    called = {name.strip().casefold() for name in sizes}
    if author is None and direction is None:
        if any(pair <= called for pair in _OF_MODELS):
            raise Unreadable(
                "has what a model was asked beside what it answered, and does not say which is whose",
                remedy="Keep the column of what you wrote, called 'text'.",
            )
        _check_direction(said, sizes)
    by_name = {name.casefold(): name for name in sizes}
    when = next((by_name[name] for name in TIMES if name in by_name and by_name[name] != column), None)
    when = when or next((name for name in sizes if name != column and {"date", "time"} & words_of(name)), None)

    def wrote(row: Mapping[str, str]) -> str | None:
        name = row.get(author, "").strip() if author else ""
        if direction is None:
            return name or (NAMELESS if author else None)
        if row.get(direction, "").casefold() in mine:
            return ME
        return f"{ME} ({OTHER})" if name == ME else name or OTHER

    chat = next((by_name[name] for name in _CHATS if name in by_name), None) if author or direction else None
    title = next((by_name[name] for name in _TITLES if name in by_name and by_name[name] != column), None)
    chats: dict[str, list[Turn]] = {}
    titles: dict[str, str] = {}
    quoted = 0
    for row in said:
        which = row.get(chat, "") if chat else ""
        titles.setdefault(which, (row.get(title, "").strip() if title else "") or which)
        text, quote = parted_quotes(row[column], to_the_end=False)
        quoted += len(quote)
        if text.strip():
            turn = Turn(text, wrote(row), _moment(row.get(when)) if when else None)
            chats.setdefault(which, []).append(turn)
    titles = told_apart(titles.items())
    is_newest_first = _is_newest_first(chats.values())
    found = [
        Document(
            f"{source}/{titles[which]}" if len(chats) > 1 else source,
            "table",
            tuple(_in_time(turns, is_newest_first=is_newest_first)),
            None if direction is None else ME,
        )
        for which, turns in chats.items()
    ] or [Document(source, "table", ())]
    left_out = +Counter({_OTHERS: sizes.total() - sizes[column], QUOTED: quoted})
    return [replace(found[0], left_out=left_out), *found[1:]]


def _check_direction(rows: Sequence[Mapping[str, str]], names: Iterable[str]) -> None:
    """Refuse a table of which a column says whose rows are, in words that are not known.

    Raises:
        Unreadable: one does.
    """
    for name in filter(says_direction, names):
        found = {row.get(name, "") for row in rows}
        if len(found) > 1:
            raise Unreadable(
                f"says by {name!r} which rows are whose, and what stands there is not known: {sorted(found)[:3]}",
                remedy="Write 'sent' and 'received' there, or keep your own rows alone.",
            )


def _is_newest_first(chats: Iterable[Sequence[Turn]]) -> bool:
    """Whether times go back from row to row of a chat rather than on."""
    steps: Counter[bool] = Counter()
    for turns in chats:
        times = [turn.when.timestamp() for turn in turns if turn.when is not None]
        steps.update(later < earlier for earlier, later in pairwise(times) if later != earlier)
    return steps[True] > steps[False]


def _in_time(turns: list[Turn], *, is_newest_first: bool) -> list[Turn]:
    """Turns in the order in which they were written, if all have a time: those of one time as they stand, or from
    below where the newest are above."""
    if any(turn.when is None for turn in turns):
        return turns
    return sorted(
        turns[::-1] if is_newest_first else turns, key=lambda turn: turn.when.timestamp() if turn.when else 0.0
    )


def _of_owner(name: str, cells: Sequence[str], beside: Collection[str]) -> frozenset[str]:
    """What stands in a column where the owner wrote a row; empty where it says no such thing.

    Most rows were sent or received, and some were received: of a column in which all were sent it may be how a letter
    was sent. Other rows of it are what a program tells, and nobody's.
    """
    found = Counter(cell.casefold() for cell in cells)
    if says_whose(name) and found.keys() <= _FLAGS:
        return frozenset(_SET)
    if name.casefold() == "type" and "address" in beside and found.keys() <= _OF_ANDROID:
        return frozenset(_OF_ANDROID - {"1"})
    sent, received = found.keys() & _SENT, found.keys() & _RECEIVED
    told = sum(found[each] for each in sent | received)
    is_direction = told * 2 > len(cells) and received and (sent or received != {"in"})
    return frozenset(_SENT) if is_direction else frozenset()


def _text_column(rows: Sequence[dict[str, str]], sizes: Counter[str]) -> str:
    """The column of text: one that says so by its name, else the one with the sentences.

    Raises:
        Unreadable: there is none, or there are several.
    """
    named = [name for name in sizes if name.strip().casefold() in TEXT and sizes[name]]
    if named:
        return max(named, key=lambda name: sizes[name])
    prose = [name for name in sizes if _is_prose([row[name] for row in rows if row.get(name)])]
    prose.sort(key=lambda name: -sizes[name])
    if len(prose) == 1 or (prose and sizes[prose[0]] >= _SURELY * sizes[prose[1]]):
        return prose[0]
    which = f"of these may be the text: {', '.join(map(repr, prose[:8]))}" if prose else "of its columns holds text"
    names = "" if prose else f": {', '.join(map(repr, list(sizes)[:8]))}"
    raise Unreadable(
        f"does not say which column {which}{names}" if prose else f"has no text: none {which}{names}",
        remedy="Name the column of text 'text' in its first line.",
    )


def _is_prose(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    spaced = sum(" " in cell.strip() or not cell.isascii() for cell in filled)
    return bool(filled) and sum(map(len, filled)) / len(filled) >= _PROSE and spaced > 0.6 * len(filled)


def _moment(value: str | None) -> datetime | None:
    """A date as ISO 8601 or as seconds (or thousandths of them) since 1970; None of any other."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return moment(value.strip().removesuffix(" UTC") + "Z" * value.strip().endswith(" UTC"))
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
