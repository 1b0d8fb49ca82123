"""What is read of people's files and exports, in a table, from the result file; see `benchmarks.summary`."""

import json
import textwrap
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "exports.json"


def exports_figures() -> str:
    """Markdown of what is read of each kind of file, ours beside a peer."""
    result = json.loads(RESULT.read_text())
    files = result["files"]
    rows = "\n".join(_row(kind, each, files) for kind, each in result["kinds"].items())
    said = (
        f"{len(files)} files of {len(result['kinds'])} kinds, made by the programs that people use; beside each stands"
        " what Alice wrote in it and what others or programs did (`python -m benchmarks.exports`). Of her words the"
        " share that is learned, and how many other words come in. A peer reads what it can of the same files; of whose"
        " words they are it knows nothing."
    )
    return f"""
{textwrap.fill(said, 118, break_on_hyphens=False)}

| kind | files | her words | other words | hers found | others let in | found and let in by a peer |
|---|---|---|---|---|---|---|
{rows}

{_real(result["real"])}

"""


def _real(found: list[dict[str, Any]]) -> str:
    """What is read of real files, whose words nobody counted beforehand, beside a peer."""
    read = [each for each in found if each["words"]]
    refused = [each["why_not_read"] for each in found if not each["words"]]
    ours, theirs, here, peer = (
        sum(each[which] for each in read) for which in ("words", "peer_words", "only_here", "only_peer")
    )
    said = (
        f"Of {len(found)} real files in packages that are pinned (PDF, HTML, notebooks, sheets, slides, mails, texts;"
        f" `benchmarks/exports_real.py`) {len(read)} are read: {ours:,} words, {theirs:,} by the peers; {here:,} are"
        f" found here alone and {peer:,} by them alone, navigation, marks of Markdown and slides' numbers"
        f" among them. Not read, and named: {'; '.join(refused)}."
    )
    return textwrap.fill(said, 118, break_on_hyphens=False)


def _row(kind: str, told: dict[str, Any], files: list[dict[str, Any]]) -> str:
    these = [each for each in files if each["kind"] == kind]
    own, others, let_in = (sum(each[which] for each in these) for which in ("own", "others", "let_in"))
    peer = told["peer"]
    beside = ""
    if peer is not None:
        some = "" if peer["files"] == told["files"] else f", {peer['files']} of them"
        strange = sum(each["peer"]["let_in"] for each in these if each["peer"] is not None)
        beside = f"{peer['name']}{some}: {peer['found']:.1%}, {strange:,}"
    return f"| {kind} | {told['files']} | {own:,} | {others:,} | {told['found']:.2%} | {let_in:,} | {beside} |"
