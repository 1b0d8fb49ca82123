"""What is read of people's files and exports, beside what a careful reader would copy of each.

    python -m benchmarks.exports                                  # writes benchmarks/results/exports.json
    python -m benchmarks.exports --peers ENVIRONMENT/bin/python    # and what a peer library makes of the same files

Files are made by the programs that people use (`benchmarks.exports_documents`), or as these write them
(`benchmarks.exports_chats`, `exports_phones`, `exports_programs`, `exports_models`, `exports_letters`), and beside them
stands what Alice wrote in each and what others or programs did. Of the words that would be learned two shares are told
by kind: of her words, those that are found (goal: 99 % and more), and of the others', those that are let in (goal: one
in a thousand at most): whatever is learned and is no word of hers. Words are counted: one that is read twice is one too
many.

Peers read a file of anybody's and know no owner, so that what others wrote in it counts as let in: markitdown for Word
documents, sheets, slides, web pages, books and notebooks, pdfplumber for PDF, odfpy and striprtf for the rest of the
documents, and mail-parser-reply for mails, of which it is handed those of the owner one by one. They are
benchmark-only: ``--peers`` names an environment of their own with these packages.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.exports_chats import chats
from benchmarks.exports_documents import Made, documents
from benchmarks.exports_letters import letters
from benchmarks.exports_models import model_chats
from benchmarks.exports_phones import phone_chats
from benchmarks.exports_programs import program_chats
from benchmarks.exports_real import real_files
from sharedllm.errors import SharedLLMError
from sharedllm.files import replacing
from sharedllm.reporting.environment import describe
from sharedllm.text.choices import Choices
from sharedllm.text.reading import read_user

RESULT = Path(__file__).parent / "results" / "exports.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with the peers' packages")
    parser.add_argument("--keep", type=Path, help="an empty folder for the files, to look at; by default none are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        made = [*_chats(folder), *documents(folder), *letters(folder)]
        found = [measured(each, arguments.peers) for each in made]
    kinds = by_kind(found)
    real = [] if arguments.peers is None else [_beside_peer(*each, arguments.peers) for each in real_files()]
    result = {"environment": describe(), "kinds": kinds, "files": found, "real": real}
    with replacing(RESULT) as part:
        part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for kind, each in kinds.items():
        print(
            f"{kind}: {each['files']} files, own {each['found']:.2%}, others' {each['let_in']:.3%}", each["peer"] or ""
        )


def _chats(folder: Path) -> Iterable[Made]:
    for number, (kind, name, file, data, me, own, others) in enumerate(
        [*chats(), *phone_chats(), *program_chats(), *model_chats()]
    ):
        place = folder / f"chat{number}"
        place.mkdir()
        (place / file).write_bytes(data)
        yield Made(kind, name, place / file, own, others, me=me)


def measured(made: Made, peers: Path | None) -> dict[str, Any]:
    """What is read of a file, in words."""
    try:
        choices = Choices(me=(made.me,) if made.me else (), author=made.author)
        text = read_user("alice", [made.path], choices=choices).text
    except SharedLLMError as error:
        print(f"{made.kind}, {made.name}: {error}", file=sys.stderr)
        text = ""
    return {
        "kind": made.kind,
        "name": made.name,
        "own": sum(words(made.own).values()),
        "others": sum(words(made.others).values()),
        **compared(made, [text]),
        "peer": None if peers is None else _by_peer(made, peers),
    }


def compared(made: Made, texts: Sequence[str]) -> dict[str, int]:
    """Her words that are found in what was read, and words in it that are none of hers."""
    own, read = words(made.own), words(texts)
    return {"found": (own & read).total(), "let_in": (read - own).total()}


def words(texts: Iterable[str]) -> Counter[str]:
    """Words of any script, each as often as it is there."""
    return Counter(word for text in texts for word in re.findall(r"\w+", text))


def by_kind(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Shares of all words of each kind of file."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        kinds.setdefault(each["kind"], []).append(each)
    return {
        kind: {"files": len(files), **_shares(files, files), "peer": _peer_shares(files)}
        for kind, files in kinds.items()
    }


def _shares(files: Sequence[dict[str, Any]], read: Sequence[dict[str, Any]]) -> dict[str, float]:
    own, others = (sum(each[which] for each in files) for which in ("own", "others"))
    return {
        "found": sum(each["found"] for each in read) / own,
        "let_in": sum(each["let_in"] for each in read) / max(1, others),
    }


def _peer_shares(files: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    read = [each for each in files if each["peer"] is not None]
    if not read:
        return None
    names = sorted({each["peer"]["name"] for each in read})
    return {"name": ", ".join(names), "files": len(read), **_shares(read, [each["peer"] for each in read])}


def _by_peer(made: Made, python: Path) -> dict[str, Any] | None:
    told = _told_by_peer(made.path, python)
    return None if told is None else {"name": told["name"], **compared(made, told["texts"])}


def _told_by_peer(path: Path, python: Path) -> dict[str, Any] | None:
    """The peer's name and the texts that it read; None where it reads no such file."""
    script = Path(__file__).parent / "exports_peers.py"
    ran = subprocess.run([python, script, path], capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        print(f"{path.name}: {ran.stderr[-300:]}", file=sys.stderr)
        return None
    found: dict[str, Any] | None = json.loads(ran.stdout)
    return found


def _beside_peer(name: str, path: Path, texts: list[str], why_not: str, python: Path) -> dict[str, Any]:
    """A real file: in how many words what is read of it and what a peer reads of it differ."""
    told = _told_by_peer(path, python) or {"name": None, "texts": []}
    ours, theirs = words(texts), words(told["texts"])
    return {
        "file": name,
        "why_not_read": why_not,
        "words": ours.total(),
        "peer": told["name"],
        "peer_words": theirs.total(),
        "only_here": (ours - theirs).total(),
        "only_peer": (theirs - ours).total(),
        "most_of_peer_alone": (theirs - ours).most_common(5),
        "most_here_alone": (ours - theirs).most_common(5),
    }


if __name__ == "__main__":
    main()
