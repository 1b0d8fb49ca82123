"""A person's real replies, and somebody else's put in the same places: does a model find hers likelier?

Which of two replies comes next is asked of dialogue models as next utterance classification (Lowe et al. 2015, "The
Ubuntu Dialogue Corpus", section 4.2: recall at 1 of 2). Here a model answers by likelihood: the reply with fewer bits
per character is the one that it expects. Both stand in the base's chat format after the same words of others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sharedllm.base.conversations import ChatTurn
from sharedllm.evaluation.perplexity import Windows
from sharedllm.text.passages import Passage
from sharedllm.text.windows import Converse

MOST = 32
"""Places at which replies are compared, evenly spread."""

_ROLES = {"own": "assistant", "other": "user", "system": "system"}
_TURNS = 8
"""Of a conversation that are read before a reply, at most."""

_Row = tuple[str, list[str]]
"""A role and what it said in a row, joined only where it is read: a row of thousands would be copied with each."""


@dataclass(frozen=True, eq=False)
class Replies:
    """The same places twice: with the person's own reply, and with what somebody else said elsewhere.

    Attributes:
        own: int64 ``[places, window]``, all but the reply as its complement.
        other: likewise, place by place.
    """

    own: Windows
    other: Windows


def find_replies(
    passages: Sequence[Passage], converse: Converse, window: int, opening: Sequence[int] = ()
) -> Replies | None:
    """The places of held-out conversations at which a person replied to somebody.

    The other reply is the turn of somebody else nearest in length, from anywhere but right before that place.

    Args:
        passages: of the block, in order.
        converse: writes a conversation as ids; see `learned_ids`.
        window: tokens at most of a place with its reply; of a longer one the beginning is left out.
        opening: what every window begins with.

    Returns:
        None where fewer than two places can be compared.
    """
    said: list[_Row] = []
    places: list[tuple[list[_Row], str]] = []
    others = list(dict.fromkeys(passage.text for passage in passages if passage.role == "other"))
    for passage in passages:
        if passage.role == "text" or passage.begins:
            said = []
        if passage.role == "text":
            continue
        if passage.role == "own" and said and said[-1][0] == "user":
            places.append((said, passage.text))
        said = _with(said, _ROLES[passage.role], passage.text)
    chosen = (
        [places[at] for at in np.unique(np.linspace(0, len(places) - 1, MOST).round().astype(int))] if places else []
    )
    own, other = [], []
    for rows, reply in chosen:
        before = [ChatTurn(role, "\n".join(texts)) for role, texts in rows]
        row = set(rows[-1][1])
        near = sorted(others, key=lambda text: abs(len(text) - len(reply)))
        # Long rows are searched only for what is none of their messages.
        instead = next((text for text in near if text not in row and text not in before[-1].text), None)
        if instead is None:
            continue
        pair = [_window(converse, [*before, ChatTurn("assistant", text)], window, opening) for text in (reply, instead)]
        if all(each is not None for each in pair):
            own.append(pair[0])
            other.append(pair[1])
    if len(own) < 2:
        return None
    return Replies(np.array(own, np.int64), np.array(other, np.int64))


def _with(said: list[_Row], role: str, text: str) -> list[_Row]:
    """The last of what was said, and one text more; several in a row by one side are one turn."""
    if said and said[-1][0] == role:
        said[-1][1].append(text)
        return said
    return [*said, (role, [text])][-_TURNS:]


def _window(converse: Converse, turns: list[ChatTurn], window: int, opening: Sequence[int]) -> list[int] | None:
    """A place and its reply, of which alone something is predicted; None if the reply does not fit."""
    ids = np.array(converse(turns), np.int64)
    predicted = np.flatnonzero(ids >= 0)
    if not len(predicted):
        return None
    breaks = np.flatnonzero(np.diff(predicted) > 1)
    begin = int(predicted[breaks[-1] + 1] if len(breaks) else predicted[0])
    ids[:begin] = np.where(ids[:begin] >= 0, ~ids[:begin], ids[:begin])
    room = window - len(opening)
    if len(ids) - begin >= room:
        return None
    kept = ids[-room:]
    return [*opening, *kept.tolist(), *[~0] * (room - len(kept))]
