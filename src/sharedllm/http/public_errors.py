"""What whoever asks is told of an error, and what the operator's log has of it.

Users are told what is wrong with what they sent, and what they can do. Where the machine's folders, files, databases
and other hosts are is for the operator, and so is whatever went wrong with those. Who the users are is for neither.
"""

import re
import traceback
from collections.abc import Mapping
from typing import Any

from sharedllm.errors import (
    BaseError,
    Diverged,
    ErasedMeanwhile,
    InTraining,
    SharedLLMError,
    StoreError,
    TrainingError,
    UnknownKey,
    UnknownUser,
)

_ABOUT_WHAT_WAS_ASKED = (UnknownUser, UnknownKey, ErasedMeanwhile, Diverged, InTraining)
_ABOUT_THE_MACHINE: Mapping[type[SharedLLMError], str] = {
    StoreError: "The store cannot answer now. Try again in a moment.",
    BaseError: "The base cannot be used on the server. Ask whoever runs it: its log says why.",
    TrainingError: "The server cannot train now. Ask whoever runs it: its log says why.",
}
_OTHER = "The server could not do that. Ask whoever runs it: its log says why."

# Of a message: some quote what was sent, and looking for places takes the square of the time.
_CHARACTERS = 2000

# Quoted, or to the end of the word, or of a later one where a folder's name has blanks in it; addresses of databases.
_PLACE = re.compile(
    r"(?P<quote>['\"`])~?/[^'\"`]*(?P=quote)|\b[a-z][a-z0-9+.-]*://\S+|(?<![\w<./:~-])~?/[^\s'\"`]+(?:[ ]\S*/\S*)*"
)
_QUOTED = re.compile(r"'(?!/)[^']*'|\"(?!/)[^\"]*\"")


def is_hidden(error: SharedLLMError) -> bool:
    """Whether an error is about the machine, and not about what was asked, so that its message is the operator's."""
    if isinstance(error, _ABOUT_WHAT_WAS_ASKED):
        return False
    return isinstance(error, tuple(_ABOUT_THE_MACHINE)) or type(error) is SharedLLMError


def public(error: SharedLLMError) -> str:
    """An error as whoever asks is told it: its kind and the way out, and no path, database or host."""
    if is_hidden(error):
        return next((said for kind, said in _ABOUT_THE_MACHINE.items() if isinstance(error, kind)), _OTHER)
    return without_places(str(error))


def without_places(text: str) -> str:
    """A text that users are told, with no path, database or host in it."""
    return _PLACE.sub("…", text[:_CHARACTERS])


def for_log(error: Exception) -> dict[str, Any]:
    """An error as the operator's log has it, without who or what it is about.

    Of an error of ours that is what it says, without what it quotes but for paths; of any other its class and the lines
    of code it came through, as its message could quote a text.
    """
    said: dict[str, Any] = {"error": type(error).__name__, "through": _through(error)}
    if isinstance(error, SharedLLMError):
        said["message"] = _QUOTED.sub("'…'", str(error)[:_CHARACTERS])
    elif isinstance(error, OSError):
        said["message"] = f"{error.strerror}: {error.filename}"
    return said


def _through(error: BaseException) -> list[str]:
    return [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]
