"""Where an adapter came from: what this installation knows of it, and apart from that what others say.

What a file says of itself stands under ``foreign``, within bounds, to be shown and never to be acted upon: it can name
a recipe that never was, or a file that is not its author's. Beside it ``imported`` says how it came here. Everything
else this installation wrote.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from sharedllm.errors import CorruptAdapter

FOREIGN = "foreign"
IMPORTED = "imported"
GREW_FROM = "grew_from"
CROSS_VALIDATED = "cross_validated"
LEARN = "learn"
MAX_CHARACTERS = 32_768
"""Of JSON that a file may say of itself."""
MAX_DEPTH = 16
"""Of objects and lists in what it says, and in whatever is read from a store: who writes it again nests it deeper."""

_LEFT_OUT = {"left_out": f"longer than {MAX_CHARACTERS:,} characters, or nested more than {MAX_DEPTH} deep"}


def parse_provenance(text: str, name: object) -> dict[str, Any]:
    """What a file says of itself, from its JSON.

    Args:
        text: the JSON.
        name: what errors shall call the file.

    Raises:
        CorruptAdapter: it is no object, longer or deeper than is kept, or holds what cannot be stored: a number that is
            not finite or has thousands of digits, or text that is not valid Unicode.
    """
    try:
        stated = json.loads(text) if len(text) <= MAX_CHARACTERS else None
        if isinstance(stated, dict) and _fits(stated):
            return stated
    except (ValueError, RecursionError):
        stated = None
    raise CorruptAdapter(
        f"{name} does not say where it came from as an adapter does: in {len(text):,} characters of JSON",
        remedy=f"Give a file whose provenance is an object of at most {MAX_CHARACTERS:,} characters, nested at most"
        f" {MAX_DEPTH} deep, with finite numbers and valid Unicode.",
    )


def imported(stated: Mapping[str, Any], how: str, *, base_verified: bool, **known: Any) -> dict[str, Any]:
    """The provenance of an adapter that came as a file.

    Args:
        stated: what the file says, as `parse_provenance` gives it. If that was imported where the file was written,
            what was foreign there stands beside what was not, so that nothing grows deeper from hand to hand.
        how: the kind of file.
        base_verified: whether it names its base.
        known: what else was found out of it here.
    """
    earlier = stated.get(FOREIGN)
    foreign = {**(earlier if isinstance(earlier, dict) else {}), **_without(stated, FOREIGN, IMPORTED)}
    ours = {IMPORTED: {"from": how, "base_verified": base_verified, **known}}
    return ours | {FOREIGN: foreign} if foreign else ours


def as_read(stored: Any) -> dict[str, Any]:
    """Provenance from a store, whichever version wrote it: earlier ones mixed what a file said with what was known.

    What is nested too deep to be handed on safely, or is no object, is left out and says so.
    """
    # One more than at the door: what a file said lies in `foreign`.
    if not isinstance(stored, dict) or not _is_shallow(stored, MAX_DEPTH + 1):
        return dict(_LEFT_OUT)
    if not is_imported(stored) or stored.keys() <= {IMPORTED, FOREIGN}:
        return stored
    foreign = _without(stored, IMPORTED)
    return {IMPORTED: stored[IMPORTED], FOREIGN: foreign if _fits(foreign) else dict(_LEFT_OUT)}


def own(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What this installation knows, without what a file said."""
    return _without(provenance, FOREIGN)


def is_imported(provenance: Mapping[str, Any]) -> bool:
    """Whether the adapter came as a file, so that nothing is known of how it was made."""
    return IMPORTED in provenance


def text_in(provenance: Mapping[str, Any]) -> str | None:
    """The SHA-256 of the text it was trained on; None where that is not known here."""
    text = provenance.get("text_sha256")
    return text if isinstance(text, str) else None


def learn_in(provenance: Mapping[str, Any]) -> Literal["writing", "answers"]:
    """Which of two things it was trained for: to write as its person does, or to answer as they like to be answered."""
    return "answers" if provenance.get(LEARN) == "answers" else "writing"


def sources_in(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Where that text was read from on this machine; empty where that is not known."""
    sources = provenance.get("sources")
    whole = isinstance(sources, list) and all(isinstance(each, str) for each in sources)
    return tuple(sources) if whole and isinstance(sources, list) else ()


def grew_from(provenance: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The release that it was trained from, with another text; None where it began at the base, or that is not known.

    That is its number as ``release``, its ``id``, the SHA-256 of its ``texts``, oldest first and itself included, and
    how many ``tokens`` it was trained on in all, or None.
    """
    begun = provenance.get(GREW_FROM)
    return begun if isinstance(begun, dict) else None


def is_cross_validated(provenance: Mapping[str, Any]) -> bool:
    """Whether it was trained on all of a text too little to hold any of it out, and judged by its parts."""
    return CROSS_VALIDATED in provenance


def _without(provenance: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name not in names}


def _fits(stated: dict[str, Any]) -> bool:
    if not _is_shallow(stated, MAX_DEPTH):
        return False
    try:
        text = json.dumps(stated, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError:
        return False
    return len(text) <= MAX_CHARACTERS


def _is_shallow(value: Any, depth: int) -> bool:
    """Whether at most so many objects and lists lie within one another, found out layer by layer, not by recursion."""
    layer = [value]
    for _ in range(depth):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return True
    return False
