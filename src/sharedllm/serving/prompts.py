"""What somebody wrote to token ids, so that nothing they wrote can be a control token.

A chat's template puts control tokens between messages. Where the messages spell none, the ids are exactly the
template's. Where they do, the template's own control tokens are found by rendering it with stand-ins for what was
written, and everything between them is encoded as plain text.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: who said it, as the base's chat format names them: system, user or assistant.
        text: what was said.
    """

    role: str
    text: str


def chat_ids(base: Base, turns: Sequence[Turn]) -> list[int]:
    """The ids of a conversation in the base's chat format, up to where the assistant's next words begin.

    Raises:
        InvalidInput: the base has no chat format, or its format refuses these messages.
    """
    if not base.tokenizer.chat_template:
        raise InvalidInput(
            "The base has no chat template", remedy="Ask for a completion instead, or use a base made for chat."
        )
    controls = _controls(base)
    texts = [turn.text for turn in turns]
    stand_ins = [_stand_in(text) for text in texts]
    frame = _rendered(base, turns, stand_ins)
    rendered = _rendered(base, turns, texts)
    ids = base.encode(rendered, controls=True)
    either = _either(controls)
    own = [controls[found] for found in either.findall(frame)]
    if [each for each in ids if each in set(controls.values())] == own:
        return ids
    return _framed(base, frame, dict(zip(stand_ins, texts, strict=True)), controls)


def check_ids(base: Base, ids: Sequence[int]) -> list[int]:
    """Return a prompt that was given as ids, if the base has them all.

    Raises:
        InvalidInput: an id is not in the vocabulary.
    """
    size = base.head.shape[0]
    if max(ids) >= size:
        raise InvalidInput(f"The prompt has token id {max(ids)}", remedy=f"The ids of this base are 0 to {size - 1}.")
    return list(ids)


def _controls(base: Base) -> dict[str, int]:
    return {token.content: id for id, token in base.tokenizer.added_tokens_decoder.items() if token.special}


def _either(controls: dict[str, int]) -> re.Pattern[str]:
    # The longest first, as one control token may begin like another.
    ordered = sorted(controls, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or "(?!)")


def _stand_in(text: str) -> str:
    """Something nobody can have written, within the white space of ``text``, which templates may trim."""
    core = text.strip()
    return text.replace(core, secrets.token_hex(16), 1) if core else text


def _rendered(base: Base, turns: Sequence[Turn], texts: Sequence[str]) -> str:
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": text} for turn, text in zip(turns, texts, strict=True)]
    try:
        rendered: str = base.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"The base's chat template refuses these messages: {error}",
            remedy="Use the roles in the order it expects.",
        ) from None
    return rendered


def _framed(base: Base, frame: str, written: dict[str, str], controls: dict[str, int]) -> list[int]:
    """The frame's control tokens as such, and between them plain text with the stand-ins replaced."""
    cores = {stand_in.strip(): text.strip() for stand_in, text in written.items() if text.strip()}
    stand_in = re.compile("|".join(map(re.escape, cores)) or "(?!)")
    either = _either(controls)
    ids = []
    end = 0
    for control in [*either.finditer(frame), None]:
        plain = frame[end : control.start() if control else None]
        ids += base.encode(stand_in.sub(lambda found: cores[found.group()], plain)) if plain else []
        if control:
            ids.append(controls[control.group()])
            end = control.end()
    return ids
