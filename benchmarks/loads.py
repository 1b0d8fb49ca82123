"""Requests that come at their times, and when each of their tokens came: the side of whoever answers them.

Of the standard library alone, so that a peer can run it in an environment of its own.
"""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO, Any

Load = Mapping[str, Any]
"""``prompts`` as token ids, how many ``new`` tokens each gets, ``at`` which second each comes, in order; and whether
each is its ``own`` person's, by its place."""

Submit = Callable[[int, list[int], int, bool], None]
"""Takes a request: its place, prompt, new tokens, and whether it is its own person's."""

_LEAST_SECONDS = 0.0005


class Clock:
    """Seconds of the process: of the wall, or those in which it computed, which stand still while others do.

    The second is a core that nobody else uses, as long as the process computes on one thread at a time.
    """

    def __init__(self, *, computing: bool) -> None:
        self._read = time.process_time if computing else time.perf_counter
        self._skipped = -self._read()

    def now(self) -> float:
        """Seconds since it was made, and those that were skipped."""
        return self._read() + self._skipped

    def skip_to(self, second: float) -> None:
        """Go on from there, where nothing is to be done until then."""
        self._skipped += max(0.0, second - self.now())


class Answers:
    """When the tokens of each request came, told by whatever thread they come on."""

    def __init__(self, clock: Clock, count: int) -> None:
        self.tokens: list[list[float]] = [[] for _ in range(count)]
        self.open = 0
        self.changed = threading.Condition()
        self._clock = clock

    def begin(self) -> None:
        """One more is under way."""
        with self.changed:
            self.open += 1

    def token(self, place: int) -> None:
        """One more token of the request in this place."""
        self.tokens[place].append(self._clock.now())

    def end(self) -> None:
        """One is over."""
        with self.changed:
            self.open -= 1
            self.changed.notify_all()


def play(load: Load, make: Callable[[Answers], tuple[Submit, Callable[[], None] | None]]) -> dict[str, Any]:
    """Have a load answered.

    Args:
        load: what comes.
        make: gives what takes a request, and what has one pass computed; None where a thread computes by itself.

    Returns:
        ``tokens``: at which second each token of each request came; ``wall`` and ``computing``: seconds from the first
        request to the last token, of the wall and of the process.
    """
    clock = Clock(computing=load["computing"])
    answers = Answers(clock, len(load["prompts"]))
    submit, step = make(answers)
    coming = deque(enumerate(zip(load["prompts"], load["at"], strict=True)))
    wall, computing = time.perf_counter(), time.process_time()
    while coming or answers.open:
        if coming and not answers.open:
            clock.skip_to(coming[0][1][1])
        while coming and coming[0][1][1] <= clock.now():
            place, (prompt, _) = coming.popleft()
            answers.begin()
            submit(place, prompt, load["new"], load["own"])
        if step is not None:
            step()
            continue
        with answers.changed:
            if answers.open:
                # It computes no faster than time goes by, so nothing is overslept.
                answers.changed.wait(max(coming[0][1][1] - clock.now(), _LEAST_SECONDS) if coming else None)
    return {
        "tokens": answers.tokens,
        "wall": time.perf_counter() - wall,
        "computing": time.process_time() - computing,
    }


def answers_alone() -> IO[str]:
    """Where answers are written, when from now on whatever a peer's library prints goes elsewhere."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return told


def answer_loads(told: IO[str], make: Callable[[Answers], tuple[Submit, Callable[[], None] | None]]) -> None:
    """A peer's side of `turns.contender`: answer the loads that come in, until none does."""
    for line in sys.stdin:
        _, load = json.loads(line)
        print(json.dumps(play(load, make)), file=told, flush=True)
