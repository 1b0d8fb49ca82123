"""The process that trains one user for the server: a job comes in on standard input, progress goes out as JSON lines.

It runs what `sharedllm train` runs, on the CPU whatever the server computes on, within a share of the CPU and a bound
on memory. The text comes through the pipe and is written nowhere. When the server ends the job, or dies, the training
stops where it is and leaves a checkpoint, which holds no text; the same text sent again goes on from there.
"""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from sharedllm.errors import InvalidInput, SharedLLMError
from sharedllm.http.public_errors import for_log, public
from sharedllm.http.reckoning import cores_of
from sharedllm.http.worker_allowance import give_way

if TYPE_CHECKING:
    from sharedllm.text.choices import Choices
    from sharedllm.text.passages import Passage
    from sharedllm.text.windows import TokenizedText

_JUDGED_SECONDS = 10.0
_UNFORESEEN = "Something went wrong in the training process. It was logged; send the text again later."
_ROOM_BYTES = 64 * 1024**2
# As torch says it, and the loader, which may find no room for a library of torch with CUDA while there still is some.
_NO_ROOM = ("can't allocate memory", "failed to map segment", "cannot map zero-fill pages")


def main() -> None:
    """Read a job, the JSON of `sharedllm.http.jobs`, and work on it.

    Each line written is ``{"by_parts": characters or null}`` of a text that is to be trained on, ``{"step": n}``,
    ``{"waits": …}`` whenever other work begins or ceases to keep it from its share, or one last
    ``{"release": n, "gate": {…}}`` or ``{"error": "…", "log": {…}}``:
    what the user is told, and what the operator's log has of it.
    """
    signal.signal(signal.SIGTERM, _stop)
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    # Whatever a library prints must not end up between our lines.
    os.dup2(2, 1)
    job = json.loads(sys.stdin.buffer.readline())
    if job["files"] is not None:
        job["files"]["data"] = sys.stdin.buffer.read(job["files"]["bytes"])
    threading.Thread(target=_outlive_nobody, daemon=True).start()

    def tell(**line: Any) -> None:
        out.write(json.dumps(line) + "\n")

    try:
        _bound(job["memory_bytes"])
        _train(job, tell)
    except Exception as error:
        # The error of one user's training comes from what went wrong in it.
        first = error.__cause__ if isinstance(error, SharedLLMError) else error
        ran_out = isinstance(first, Exception) and out_of_memory(first)
        tell(**_failed(_too_large(job["memory_bytes"]) if ran_out else error))


def _failed(error: Exception) -> dict[str, Any]:
    told = public(error) if isinstance(error, SharedLLMError) else _UNFORESEEN
    return {"error": told, "log": for_log(error)}


def out_of_memory(error: Exception, room_bytes: int = _ROOM_BYTES) -> bool:
    """Whether memory ran out, however it is said: of a large block in one of a few ways, of a small one in any.

    A library that finds no room for a few bytes may say anything: that an import failed, that a file could not be read.
    The error's traceback still holds what was there when it was raised, so that the room can be looked at.
    """
    said = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if said or isinstance(error, MemoryError) or any(words in str(error) for words in _NO_ROOM):
        return True
    try:
        bytearray(room_bytes)
    except MemoryError:
        return True
    return False


def _train(job: dict[str, Any], tell: Callable[..., None]) -> None:
    import torch

    from sharedllm.base.loading import Base, load_base
    from sharedllm.operations.authors import Author
    from sharedllm.operations.train import train
    from sharedllm.operations.workplace import Workplace
    from sharedllm.store import Stay, open_store
    from sharedllm.text.choices import choices_from
    from sharedllm.training.recipes import Recipe

    cores, threads = cores_of(job["share"])
    torch.set_num_threads(threads)

    def load(name: str) -> Base:
        base = load_base(name, device="cpu")
        base.model.base_model.register_forward_pre_hook(_Pace(cores, lambda waits: tell(waits=waits)))
        return base

    @contextmanager
    def told(what: str, total: int) -> Iterator[Callable[[int], None]]:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            tell(step=done)

        yield advance

    def begins(text: "TokenizedText") -> None:
        tell(by_parts=text.characters if text.folds else None)

    stay = None if job["stay"] is None else Stay(*job["stay"])
    author = Author(job["user"], lambda: str(job["text"]), stay=stay)
    if (files := job["files"]) is not None:
        # Choices as they were sent; tuples became lists on the way.
        choices = choices_from(files["choices"])
        author = Author(job["user"], lambda: _read(job["user"], files["data"], choices), stay=stay, learn=choices.learn)
    with open_store(job["store"]) as store, Workplace(job["base"], load=load, bar=told) as workplace:
        recipe = Recipe(**job["recipe"])
        for outcome in train(workplace, store, [author], recipe, add=job["add"], on_begin=begins):
            if outcome.error is not None:
                raise outcome.error
            if outcome.release is not None:
                tell(release=outcome.release.number, gate=asdict(outcome.release.gate))


def _read(user: str, data: bytes, choices: "Choices") -> "Sequence[Passage]":
    from io import BytesIO

    from sharedllm.text.reading import read_user

    return read_user(user, ["-"], choices=choices, stdin=BytesIO(data)).passages


class _Pace:
    """Called before each pass of the model: rests until the work since the last one is within the share.

    It counts CPU time over all threads, so that the share is of the whole machine, and it never saves up: a rest that
    was longer than need be does not make the next one shorter. And it tells when other work, which goes first, leaves
    it less than half of what it may have, and when that is over.
    """

    def __init__(self, cores: float, tell: Callable[[bool], None] = lambda _: None) -> None:
        self._cores, self._tell = cores, tell
        self._cpu = 0.0
        self._wall = time.monotonic()
        self._judged, self._waits = (self._wall, self._cpu), False

    def __call__(self, *_: Any) -> None:
        due = self._wall + (time.process_time() - self._cpu) / self._cores
        time.sleep(max(0.0, due - time.monotonic()))
        self._cpu, self._wall = time.process_time(), time.monotonic()
        self._judge()

    def _judge(self) -> None:
        wall, cpu = self._judged
        if self._wall - wall < _JUDGED_SECONDS:
            return
        waits = self._cpu - cpu < (self._wall - wall) * min(self._cores, 1.0) / 2
        self._judged = self._wall, self._cpu
        if waits is not self._waits:
            self._waits = waits
            self._tell(waits)


def _bound(memory_bytes: int) -> None:
    import resource

    give_way()
    # Of what is written to, not of addresses: libraries and memory-mapped weights reserve many that they never use.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _stop(*_: Any) -> NoReturn:
    # The checkpoint that is written on the way out is not to be interrupted by a second one.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signal.SIGTERM)


def _outlive_nobody() -> None:
    """Wait for the other end of the pipe to close, as it does when the server is killed, and stop the training."""
    # Not through sys.stdin, whose lock would be held when the interpreter ends.
    os.read(0, 1)
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        # To that very thread, so that it also wakes from a rest.
        signal.pthread_kill(main_thread, signal.SIGTERM)


def _too_large(memory_bytes: int) -> InvalidInput:
    return InvalidInput(
        f"Training takes more than the {memory_bytes / 2**30:.1f} GiB that it may use here",
        remedy="Send less text, or train with sharedllm train on a machine with more memory.",
    )


if __name__ == "__main__":
    main()
