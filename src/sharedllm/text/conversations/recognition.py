"""Which program wrote a file, by what is in it, whatever it is called."""

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

from sharedllm.text.conversations import (
    chatgpt,
    claude,
    discord,
    google_chat,
    imessage,
    kakaotalk,
    line,
    messages,
    meta,
    signal,
    skype,
    slack,
    telegram,
    whatsapp,
)
from sharedllm.text.conversations.gathering import broken
from sharedllm.text.documents import Document

_HEAD = 65_536


class JsonProgram(Protocol):
    """What a program's module offers, if the program writes JSON.

    ``KIND`` is what its export is called, ``SIGNS`` are texts near a file's beginning, all of one of which are there
    even where it is broken.
    """

    @property
    def KIND(self) -> str: ...  # noqa: N802

    @property
    def SIGNS(self) -> tuple[tuple[str, ...], ...]: ...  # noqa: N802

    def holds(self, value: Any) -> bool:
        """Whether parsed JSON is its export: cheap, and never raises."""

    def documents(self, source: str, value: Any) -> list[Document]:
        """What is in it; raises a `TextError` that says what is wrong with it."""


class TextProgram(Protocol):
    """The same of a program that writes text."""

    def text_documents(self, source: str, text: str) -> list[Document] | None:
        """What is in it; None where it is not its export."""


JSON_PROGRAMS: tuple[JsonProgram, ...] = (
    telegram,
    chatgpt,
    claude,
    discord,
    meta,
    slack,
    signal,
    google_chat,
    skype,
    messages,
)
TEXT_PROGRAMS: tuple[TextProgram, ...] = (signal, line, kakaotalk, imessage, whatsapp)


def recognise(name: str, data: bytes) -> Sequence[Document] | None:
    """What an export of a chat holds: a document a chat.

    Args:
        name: how the file is shown; it decides nothing.
        data: all of it.

    Returns:
        None where it is no export of a program known here.

    Raises:
        TextError: it is one, and cannot be read; the message says what is wrong.
    """
    text = decoded(data)
    if text is None:
        return None
    if text.lstrip()[:1] in ("{", "["):
        value, wrong = parsed(text)
        if wrong is None:
            for program in JSON_PROGRAMS:
                if program.holds(value):
                    return program.documents(name, value)
        elif (kind := _kind_by_signs(text[:_HEAD])) is not None:
            raise broken(name, kind, wrong)
    for each in TEXT_PROGRAMS:
        if (found := each.text_documents(name, text)) is not None:
            return found
    return None


def decoded(data: bytes) -> str | None:
    """A text in UTF-8, or in UTF-16 with its mark; None where it is neither."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def parsed(text: str) -> tuple[Any, str | None]:
    """The value of JSON, or an array of what stands on each line of JSON lines; and what is wrong with it."""
    try:
        return json.loads(text), None
    except RecursionError:
        return None, "it is nested too deep"
    except ValueError as error:
        wrong = f"it is not whole: {error}"
    values = []
    lines = [each for each in text.split("\n") if each.strip()]
    for number, each in enumerate(lines, 1):
        try:
            values.append(json.loads(each))
        except RecursionError:
            return None, f"its line {number} is nested too deep"
        except ValueError as error:
            return None, f"its line {number} is broken: {error}" if number > 1 else wrong
    return values, None


def _kind_by_signs(head: str) -> str | None:
    squeezed = re.sub(r"\s+", " ", head)
    for program in JSON_PROGRAMS:
        if any(all(sign in squeezed for sign in signs) for signs in program.SIGNS):
            return program.KIND
    return None
