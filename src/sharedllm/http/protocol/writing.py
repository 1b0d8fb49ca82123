"""How answers are written, whole or as a stream of server-sent events: a shape for each kind of endpoint."""

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import SharedLLMError
from sharedllm.http.error_responses import told
from sharedllm.http.large_json import to_json
from sharedllm.http.protocol.forms import Form, counted, glass_box
from sharedllm.http.submission import PartialAnswer
from sharedllm.serving.request import Finished, Token


@dataclass(frozen=True)
class ResponseHead:
    """What every part of one response carries.

    Attributes:
        id: of the response.
        created: when, in seconds.
        model: the one there is.
        routing: its ``sharedllm`` object: which adapter answers, and the seed.
    """

    id: str
    created: int
    model: str
    routing: Mapping[str, Any]

    @classmethod
    def now(cls, id_prefix: str, model: str, routing: Mapping[str, Any]) -> "ResponseHead":
        return cls(id_prefix + secrets.token_hex(12), int(time.time()), model, routing)


class Writer(ABC):
    """One response as it is written.

    Attributes:
        id_prefix: what ids of such responses begin with.
    """

    id_prefix: str

    def __init__(self, form: Form, vocabulary: Vocabulary) -> None:
        self.form, self.vocabulary = form, vocabulary
        self.head = ResponseHead("", 0, form.service.model, {})
        self.answers: Sequence[PartialAnswer] = ()

    def begin(self, routing: Mapping[str, Any], answers: Sequence[PartialAnswer]) -> None:
        """Take note of what decides it, and of the answers, which still grow."""
        self.head = ResponseHead.now(self.id_prefix, self.form.service.model, routing)
        self.answers = answers

    @abstractmethod
    def whole(self, counts: Mapping[str, Any]) -> Mapping[str, Any]:
        """The response that is not streamed, of answers that are complete; ``counts`` is as `usage` gives them."""

    @abstractmethod
    def opening(self) -> bytes:
        """What a stream begins with, sent together with the first of what follows."""

    @abstractmethod
    def piece(self, index: int, token: Token) -> bytes:
        """A token of an answer; nothing where there is nothing to tell."""

    @abstractmethod
    def ending(self, index: int, finished: Finished, *, last: bool) -> bytes:
        """The end of an answer, of all of them the ``last`` or not."""

    @abstractmethod
    def closing(self, counts: Mapping[str, Any]) -> bytes:
        """What a stream ends with."""

    @abstractmethod
    def failure(self, error: SharedLLMError, opening: bytes) -> bytes:
        """What a stream ends with instead; ``opening`` is what has not been sent of it."""

    def ours(self) -> Mapping[str, Any]:
        """The ``sharedllm`` object of complete answers."""
        if not self.form.common.extensions.glass_box:
            return self.head.routing
        return {**self.head.routing, "glass_box": glass_box(self.form.chosen(self.answers), self.vocabulary)}


class ChoiceWriter(Writer):
    """Chats and completions: choices, and in a stream chunks of them.

    Routing is told in the first chunk and the last, and an error is an event that ends the stream.
    """

    def __init__(self, form: Form, vocabulary: Vocabulary) -> None:
        super().__init__(form, vocabulary)
        self.id_prefix = form.id_prefix
        self._new = 0

    def whole(self, counts: Mapping[str, Any]) -> Mapping[str, Any]:
        answers = enumerate(self.form.chosen(self.answers))
        choices = [self.form.choice(index, answer, self.vocabulary) for index, answer in answers]
        return self._of(self.form.object) | {"choices": choices, "usage": counts, "sharedllm": self.ours()}

    def opening(self) -> bytes:
        choices = [self.form.opening(index) for index in range(len(self.answers))]
        return event({**self._chunk, "choices": choices, "sharedllm": self.head.routing})

    def piece(self, index: int, token: Token) -> bytes:
        self._new += 1
        choice = self.form.piece(index, token, self.vocabulary)
        return b"" if choice is None else event({**self._chunk, "choices": [choice]})

    def ending(self, index: int, finished: Finished, *, last: bool) -> bytes:
        chunk = {**self._chunk, "choices": [self.form.ending(index, finished.text, finished.reason)]}
        return event(chunk | ({"sharedllm": self.ours()} if last and not self.form.common.tells_usage else {}))

    def closing(self, counts: Mapping[str, Any]) -> bytes:
        done = b"data: [DONE]\n\n"
        if not self.form.common.tells_usage:
            return done
        return event({**self._chunk, "choices": [], "usage": counts, "sharedllm": self.ours()}) + done

    def failure(self, error: SharedLLMError, opening: bytes) -> bytes:
        return event(told(error, self.head.routing))

    @property
    def _chunk(self) -> dict[str, Any]:
        chunk = self._of(self.form.chunk_object)
        if not self.form.common.tells_usage:
            return chunk
        so_far = counted(self.answers, self.form.drawn, self._new) if self.form.common.tells_usage_so_far else None
        return {**chunk, "usage": so_far}

    def _of(self, kind: str) -> dict[str, Any]:
        return {"id": self.head.id, "object": kind, "created": self.head.created, "model": self.head.model}


def event(content: Mapping[str, Any], name: str | None = None) -> bytes:
    """A server-sent event, with a name or without."""
    return (b"" if name is None else f"event: {name}\n".encode()) + b"data: " + to_json(content) + b"\n\n"
