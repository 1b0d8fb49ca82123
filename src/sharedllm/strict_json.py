"""JSON that everybody reads alike, for what is signed, or says who signs."""

import json
from typing import Any


def read_strictly(data: str | bytes) -> Any:
    """The value of a JSON text in which no object names anything twice.

    Readers differ in which of the two they take: one could be shown to whoever checks, and the other be acted on.

    Raises:
        ValueError: it is not JSON, or names something twice.
    """
    return json.loads(data, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names something twice")
    return found
