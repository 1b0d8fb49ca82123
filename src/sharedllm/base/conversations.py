"""What somebody wrote to token ids, so that nothing they wrote can be a control token.

A chat's template puts control tokens between messages. Where the messages spell none, the ids are exactly the
template's. Where they do, the template's own control tokens are found by rendering it with stand-ins for what was
written, and everything between them is encoded as plain text.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.base.loading import Base
from sharedllm.base.templates import rendered


@dataclass(frozen=True)
class ChatTurn:
    """One message of a conversation.

    Attributes:
        role: who said it, as the base's chat format names them: system, user or assistant.
        text: what was said.
    """

    role: str
    text: str


def chat_ids(base: Base, turns: Sequence[ChatTurn]) -> list[int]:
    """The ids of a conversation in the base's chat format, up to where the assistant's next words begin.

    Raises:
        InvalidInput: the base has no chat format, its format refuses these messages, or it writes a token that the base
            has no embedding for.
    """
    texts = [turn.text for turn in turns]
    stand_ins = [_stand_in(text) for text in texts]
    # Templates may trim what was written, so the white space around it is not the stand-in's.
    written = {stand_in.strip(): text.strip() for stand_in, text in zip(stand_ins, texts, strict=True) if text.strip()}
    return base.tokens.encode_framed(_rendered(base, turns, texts), _rendered(base, turns, stand_ins), written)


def _stand_in(text: str) -> str:
    """Something nobody can have written, within the white space of ``text``, which templates may trim."""
    core = text.strip()
    return text.replace(core, secrets.token_hex(16), 1) if core else text


def _rendered(base: Base, turns: Sequence[ChatTurn], texts: Sequence[str]) -> str:
    messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, texts, strict=True)]
    return rendered(base.tokenizer, messages, asking=True)
