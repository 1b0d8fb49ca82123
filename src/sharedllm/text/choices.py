"""How a person wants their text read: who they are in it, what of it is learned, whether details are masked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharedllm.errors import InvalidInput
from sharedllm.text.passages import Learn

CHOICES = "choices:"
"""What begins an entry among the sources that a release remembers which says how they are read."""


@dataclass(frozen=True)
class Choices:
    """How a text is read. A release remembers it, since other choices make another text of the same files.

    Attributes:
        me: names by which the person goes in exports with several authors; empty where it is to be guessed.
        learn: to write as they do, or to answer as they like to be answered.
        mask: whether personal details are masked.
        author: whose lines are read of files in a git checkout, by name or by mail address; None for all lines.
    """

    me: tuple[str, ...] = ()
    learn: Learn = "writing"
    mask: bool = False
    author: str | None = None

    def as_source(self) -> list[str]:
        """What stands for it among sources; nothing for what is read where nothing is chosen."""
        chosen: dict[str, object] = {"me": list(self.me)} if self.me else {}
        chosen |= {"learn": self.learn} if self.learn != "writing" else {}
        chosen |= {"mask": True} if self.mask else {}
        chosen |= {"author": self.author} if self.author is not None else {}
        return [CHOICES + json.dumps(chosen, ensure_ascii=False)] if chosen else []


def choices_from(given: object) -> Choices:
    """Choices from the JSON of a source or of a line of a manifest.

    Raises:
        InvalidInput: it does not say such.
    """
    shape = (
        'Write "me" as a name or a list of names, "learn" as "writing" or "answers", "mask" as true or false,'
        ' "author" as a name.'
    )
    if not isinstance(given, dict) or given.keys() - {"me", "learn", "mask", "author"}:
        raise InvalidInput(f"{given!r:.80} does not say how a text is read", remedy=shape)
    me, learn, mask = given.get("me", []), given.get("learn", "writing"), given.get("mask", False)
    names = [me] if isinstance(me, str) else me
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidInput(f"who is meant is {me!r:.80} instead of a name", remedy=shape)
    if learn not in ("writing", "answers"):
        raise InvalidInput(f"what is learned is {learn!r:.40}", remedy=shape)
    if not isinstance(mask, bool):
        raise InvalidInput(f"whether details are masked is {mask!r:.40}", remedy=shape)
    author = given.get("author")
    if not (author is None or (isinstance(author, str) and author.strip())):
        raise InvalidInput(f"the author is {author!r:.80} instead of a name or a mail address", remedy=shape)
    return Choices(tuple(names), learn, mask, author)


def chosen_in(sources: Sequence[str | Path]) -> tuple[Choices, list[str | Path]]:
    """What remembered sources say of how they are read, and the sources.

    Raises:
        InvalidInput: they say it in a way that is not known here.
    """
    said = [source for source in sources if isinstance(source, str) and source.startswith(CHOICES)]
    rest = [source for source in sources if source not in said]
    if not said:
        return Choices(), rest
    try:
        return choices_from(json.loads(said[0].removeprefix(CHOICES))), rest
    except ValueError as error:
        raise InvalidInput(
            f"{said[0]!r:.80} does not say how a text is read", remedy="Give the files again, and how they are read."
        ) from error
