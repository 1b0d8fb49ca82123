"""The requests that one HTTP request makes of the engine, from its thread to the event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sharedllm.errors import GrammarFailed
from sharedllm.http.error_responses import Refused
from sharedllm.http.logs import log
from sharedllm.serving.request import Finished, Request, RequestEvent, Scored, Token

if TYPE_CHECKING:
    from sharedllm.serving.engine import AnyEngine


@dataclass
class PartialAnswer:
    """One answer as it grows; ``finished`` is None until it has ended, ``given`` is the length of its prompt."""

    given: int = 0
    tokens: list[Scored] = field(default_factory=list)
    text: str = ""
    finished: Finished | None = None

    def add(self, event: RequestEvent) -> None:
        self.text += event.text
        if isinstance(event, Token):
            self.tokens.append(event.scored)
        else:
            self.finished = event

    @property
    def end(self) -> Finished:
        """How it ended."""
        if self.finished is None:
            raise _ended("failed")
        return self.finished


class Submission:
    """Requests on their way. Make it on the event loop; whatever happens then, `stop` it in the end."""

    def __init__(self, engine: "AnyEngine", first_token: Callable[[float], None], *, stream: bool) -> None:
        """Take note of the event loop.

        Args:
            engine: what will run them.
            first_token: told the seconds from submission to the first token of each request.
            stream: whether `events` tells of every token. Otherwise it tells of ends alone: a wake-up of the event loop
                for every token of everybody is time that the model does not get.
        """
        self._engine = engine
        self._first_token = first_token
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, RequestEvent]] = asyncio.Queue()
        self._numbers: dict[int, int] = {}
        self._since = time.monotonic()
        self.answers: list[PartialAnswer] = []

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand them to the engine, from any thread.

        Raises:
            QueueFull, EngineStopped, InvalidInput: the engine does not take one of them; those before it are running.
        """
        self.answers = [PartialAnswer(len(request.prompt)) for request in requests]
        for index, request in enumerate(requests):
            self._numbers[index] = self._engine.submit(request, partial(self._deliver, index))

    async def events(self) -> AsyncIterator[tuple[int, RequestEvent]]:
        """What is told of them, by index, until all have ended.

        Raises:
            Refused: one ended without an answer: at its deadline, erased, at a shutdown, or failed.
            GrammarFailed: what one was held to left nothing to say.
        """
        left = len(self.answers)
        while left:
            index, event = await self._events.get()
            if isinstance(event, Finished):
                left -= 1
                self._numbers.pop(index, None)
                if event.error is not None:
                    # Its message may quote the answer.
                    log.error({"event": "failed", "error": type(event.error).__name__})
                if isinstance(event.error, GrammarFailed):
                    raise event.error
                if event.reason not in ("stop", "length"):
                    raise _ended(event.reason)
            yield index, event

    def stop(self) -> None:
        """Cancel those that are not known to have ended; from any thread, and as often as you like."""
        while self._numbers:
            self._engine.cancel(self._numbers.popitem()[1])

    def _deliver(self, index: int, event: RequestEvent) -> None:
        """Take what the engine tells, on its thread."""
        if isinstance(event, Token) and not self.answers[index].tokens:
            self._first_token(time.monotonic() - self._since)
        self.answers[index].add(event)
        if isinstance(event, Token) and not self._stream:
            return
        # The loop is closed when the server ended without waiting; the engine's thread is to go on all the same.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))


def _ended(reason: str) -> Refused:
    """The error for a request that ended without an answer."""
    status, message, remedy = {
        "deadline": (504, "The request did not end before its deadline", "Ask for less, or for a later deadline."),
        "erased": (410, "The user was erased", "Nothing of theirs is left to answer with."),
        "shutdown": (503, "The server is shutting down", "Send it again in a moment."),
        "cancelled": (503, "The request was cancelled", "Send it again."),
    }.get(reason, (500, "The request failed in the server", "It was logged; send it again."))
    return Refused(status, reason, message, remedy=remedy)
