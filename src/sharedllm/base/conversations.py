"""What somebody wrote to token ids, so that nothing they wrote can be a control token.

A chat's template puts control tokens between messages. Where the messages spell none, the ids are exactly the
template's. Where they do, the template's own control tokens are found by rendering it with stand-ins for what was
written, and everything between them is encoded as plain text.

Where a conversation is learned from, what the assistant says in it is predicted, and the end of each of its turns;
everything else is only read.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.base.loading import Base
from sharedllm.base.templates import rendered
from sharedllm.base.tokens import Tokens
from sharedllm.errors import InvalidInput

_SPEAKERS = {"system": "", "user": "Them: ", "assistant": "Me: "}
"""Of a plain transcript, where a base has no chat template."""


@dataclass(frozen=True)
class ChatTurn:
    """One message of a conversation.

    Attributes:
        role: who said it, as the base's chat format names them: system, user or assistant.
        text: what was said.
    """

    role: str
    text: str


def chat_ids(base: Base, turns: Sequence[ChatTurn], *, asking: bool = True, continuing: bool = False) -> list[int]:
    """The ids of a conversation in the base's chat format, up to where the assistant's next words begin.

    Args:
        base: whose format it is.
        turns: what was said.
        asking: whether the assistant's next turn is begun.
        continuing: end with the last words of the last turn, so that what comes next goes on from them.

    Raises:
        InvalidInput: the base has no chat format, its format refuses these messages or cannot be ended with the last
            words, or it writes a token that the base has no embedding for.
    """
    texts = [turn.text for turn in turns]
    stand_ins = [_stand_in(text) for text in texts]
    # Templates may trim what was written, so the white space around it is not the stand-in's.
    written = {stand_in.strip(): text.strip() for stand_in, text in zip(stand_ins, texts, strict=True) if text.strip()}
    asking = asking and not continuing
    text, frame = (_rendered(base, turns, said, asking=asking) for said in (texts, stand_ins))
    if continuing:
        text, frame = _cut(text, frame, stand_ins[-1])
    return base.tokens.encode_framed(text, frame, written)


def _cut(text: str, frame: str, stand_in: str) -> tuple[str, str]:
    """Both up to the end of what was said last, with as much of the white space after it as the template keeps."""
    said = stand_in.strip()
    _, found, behind = frame.rpartition(said) if said else ("", "", "")
    if not found or not text.endswith(behind):
        raise InvalidInput(
            "The last message cannot be continued: it is empty, or the base's chat template does not write it out",
            remedy="Leave it out, or ask for a new answer.",
        )
    space = stand_in[len(stand_in.rstrip()) :]
    over = len(behind) - (len(space) if behind.startswith(space) else 0)
    return text[: len(text) - over], frame[: len(frame) - over]


def learned_ids(tokens: Tokens, turns: Sequence[ChatTurn]) -> list[int]:
    """The ids of a conversation without the tokenizer's opening; the complement of all but what the assistant says.

    It is written in the base's chat format, or where it has none as a plain transcript; what the assistant says first
    is an answer to nothing. White space around turns is no part of them.

    Raises:
        InvalidInput: the base's format refuses these messages, or it writes a token that the base has no embedding for.
    """
    said = [ChatTurn(turn.role, turn.text.strip()) for turn in turns]
    begins = next((place for place, turn in enumerate(said) if turn.role != "system"), len(said))
    if begins < len(said) and said[begins].role == "assistant":
        said.insert(begins, ChatTurn("user", ""))
    try:
        return _learned(tokens, said)
    except InvalidInput:
        if not begins or begins == len(said):
            raise
        # Not every format has a place for what a conversation is set up with.
        first = "\n\n".join(turn.text for turn in said[: begins + 1] if turn.text)
        return _learned(tokens, [ChatTurn("user", first), *said[begins + 1 :]])


def _learned(tokens: Tokens, turns: Sequence[ChatTurn]) -> list[int]:
    stand_ins = [_stand_in(turn.text) for turn in turns]
    written = {stand_in: turn.text for stand_in, turn in zip(stand_ins, turns, strict=True) if turn.text}
    learned = {stand_in for stand_in, turn in zip(stand_ins, turns, strict=True) if turn.role == "assistant"}
    frame = tokens.written(
        [{"role": turn.role, "content": stand_in} for turn, stand_in in zip(turns, stand_ins, strict=True)]
    )
    if frame is None:
        lines = (f"{_SPEAKERS[turn.role]}{stand_in}\n" for turn, stand_in in zip(turns, stand_ins, strict=True))
        frame = "".join([*lines, "\n"])
    return tokens.encode_learned(frame, written, learned)


def _stand_in(text: str) -> str:
    """Something nobody can have written, within the white space of ``text``, which templates may trim."""
    core = text.strip()
    return text.replace(core, secrets.token_hex(16), 1) if core else text


def _rendered(base: Base, turns: Sequence[ChatTurn], texts: Sequence[str], *, asking: bool) -> str:
    messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, texts, strict=True)]
    return rendered(base.tokenizer, messages, asking=asking)
