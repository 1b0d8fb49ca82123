"""Training in the background: a bounded queue, one process at a time, and what became of each job.

Jobs live in this process's memory and are forgotten when it ends, and so is the text of those that wait. What a
stopped job leaves is a checkpoint in the data folder, under a hash of the user and of the text; the same text sent
again goes on from there.
"""

import json
import logging
import secrets
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from io import TextIOWrapper
from pathlib import Path
from typing import IO, cast

from sharedllm.adapters.formats.registry import check_reaches_others
from sharedllm.errors import EngineStopped, InvalidInput, QueueFull, TextError, UnknownJob
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.http.arrivals import Files
from sharedllm.http.reckoning import Reckoner, Reckoning
from sharedllm.http.training_job import Job, JobState
from sharedllm.http.worker_allowance import worker_environment
from sharedllm.store import Stay, Store
from sharedllm.store.address import address_of
from sharedllm.text.documents import normalise_newlines
from sharedllm.text.splits import split_text
from sharedllm.training.recipes import Recipe

log = logging.getLogger("sharedllm.http")

MAX_TEXT_BYTES = 2_000_000
"""Of one job's text. The default recipe reads some 200,000; a longer text gives it more to choose from."""

TRAINING_SHARE = 0.25
"""Of this machine's CPU, from each pass of the model to the next, whether or not the server has anything else to do.
What the process uses before its first pass it rests off before that."""

WAITING = 8
_REMEMBERED = 1_000
_GRACE_SECONDS = 5.0
_USUAL_SECONDS = 300.0
# Beside the base, which may have to be widened to float32: the libraries, activations and the text's tokens.
_BYTES_BESIDE_THE_BASE = 3 * 2**30


class Jobs(Holder):
    """The queue, safe to use from several threads.

    Each user has at most one job that waits or runs, and at most eight wait in all.
    """

    holds = "trainings"

    def __init__(self, base: Path, store: str | None, *, share: float = TRAINING_SHARE) -> None:
        """A queue that is empty.

        Args:
            base: the folder of the base; the training process loads its own copy, on the CPU.
            store: where that process shall find the store, as `open_store` takes it; it is told the address.
            share: of this machine's CPU for training, above 0 and at most 1.
        """
        self._base, self._store, self._share = base, address_of(store), share
        self._reckoner = Reckoner(base, share)
        weights = sum(path.stat().st_size for path in base.glob("*.safetensors"))
        self._memory_bytes = 3 * weights + _BYTES_BESIDE_THE_BASE
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._refused: set[str] = set()
        self._closed = False

    def submit(
        self, user: str, wrote: str | Files, recipe: Recipe, stay: Stay | None = None, *, add: bool = False
    ) -> Job:
        """Queue a training of a user on what began to arrive in a stay of theirs; None where it begins later.

        A text is checked here. Files are read by the training, and what is wrong with them becomes the job's error.

        With ``add`` the text comes to what the release was made from that answers when it is their turn.

        Raises:
            TextError: the text is empty, too long, too short to hold any of it out, or holds a NUL or a surrogate.
            QueueFull: they have a job already, or too many wait.
            InvalidInput: they are being erased, or other processes cannot open the store.
            FormatError: other processes do not know the recipe's format.
            EngineStopped: the server is shutting down.
        """
        if self._store == ":memory:":
            raise InvalidInput(
                "Nothing can be trained into a store that lives in this server's memory",
                remedy="Start the server with --store and a file.",
            )
        check_reaches_others(recipe.method)
        job = Job(secrets.token_hex(16), user, recipe, stay, add)
        if isinstance(wrote, Files):
            job.files = wrote
        else:
            job.text = _checked(user, wrote)
        with self._lock:
            self._check_room(user)
            self._jobs[job.id] = job
            self._queue.append(job)
            self._drop_oldest()
            if self._running is None:
                self._next()
        return job

    def reckon(self, recipe: Recipe, characters: int | None) -> Reckoning:
        """How long a training would take, and until it began, if it were sent now.

        Args:
            recipe: how it would train.
            characters: of a text that would be tested by parts; None for one that is long enough to hold some out.
        """
        with self._lock:
            left = self._running.seconds_left if self._running else 0.0
            before = len(self._queue) + (left is None)
        waits = (left or 0.0) + before * self._reckoner.seconds(recipe, None)
        return Reckoning(self._reckoner.seconds(recipe, characters), waits, self._reckoner.by_pace)

    def find(self, user: str, id: str) -> Job:
        """A user's job.

        Raises:
            UnknownJob: they have none of that id.
        """
        job = self._jobs.get(id)
        if job is None or job.user != user:
            raise UnknownJob(
                f"There is no job {id[:40]!r} of {user!r} here",
                remedy="Look at the user's releases; jobs are forgotten when the server stops.",
            )
        return job

    def of(self, user: str, *, after: str | None = None) -> list[Job]:
        """A user's jobs that are remembered, oldest first: all, or those that were sent after one of them.

        Raises:
            UnknownJob: they have none called ``after``.
        """
        with self._lock:
            theirs = [job for job in self._jobs.values() if job.user == user]
        return theirs if after is None else theirs[theirs.index(self.find(user, after)) + 1 :]

    def all(self, *, state: JobState | None = None) -> list[Job]:
        """Everybody's jobs that are remembered, newest first; those in one state, if one is named."""
        with self._lock:
            return [job for job in reversed(self._jobs.values()) if state in (None, job.state)]

    def cancel(self, job: Job) -> None:
        """End a job, and return when nothing of it runs any more. One that is over stays as it was."""
        with self._lock:
            if job.over.is_set():
                return
            if job.process is None:
                self._queue.remove(job)
                job.settle("cancelled")
                return
            job.ending, process = True, job.process
        process.terminate()
        if not job.over.wait(_GRACE_SECONDS):
            process.kill()
            job.over.wait()

    @contextmanager
    def stopping(self, user: str) -> Iterator[None]:
        """Cancel all that a user has here, and take nothing new of theirs until the block is left."""
        with self._lock:
            self._refused.add(user)
        try:
            for job in self.of(user):
                self.cancel(job)
            yield
        finally:
            with self._lock:
                self._refused.discard(user)

    def found(self, user: str) -> list[Removed | Derived]:
        return [Removed("trainings", "server", len(self.of(user)))]

    def forget(self, user: str) -> list[Removed | Derived]:
        found = self.found(user)
        with self._lock:
            for id in [id for id, job in self._jobs.items() if job.user == user]:
                del self._jobs[id]
        return found

    def end_erased(self, store: Store) -> None:
        """Cancel the jobs of those who were erased since, wherever that was, and forget their texts.

        Raises:
            StoreError: the store does not answer.
        """
        with self._lock:
            unfinished = {job: job.stay for job in self._jobs.values() if job.stay and not job.over.is_set()}
        erased = store.erased_since(unfinished.values())
        for job, stay in unfinished.items():
            if stay in erased:
                self.cancel(job)

    def close(self) -> None:
        """End every job and take no more. Closing twice is safe."""
        with self._lock:
            self._closed = True
            unfinished = [*self._queue, *([self._running] if self._running else [])]
        for job in unfinished:
            self.cancel(job)

    def _check_room(self, user: str) -> None:
        if self._closed:
            raise EngineStopped("The server is shutting down", remedy="Send the text again when it is back.")
        if user in self._refused:
            raise InvalidInput(f"{user!r} is being erased", remedy="Send the text again once that is done.")
        unfinished = [*self._queue, *([self._running] if self._running else [])]
        left = (self._running and self._running.seconds_left) or _USUAL_SECONDS
        if any(job.user == user for job in unfinished):
            raise QueueFull(f"A job of {user!r} is not over yet", remedy="Wait for it, or cancel it.", retry_after=left)
        if len(self._queue) >= WAITING:
            raise QueueFull(
                f"{len(self._queue)} jobs are waiting, and no more fit", remedy="Try again later.", retry_after=left
            )

    def _drop_oldest(self) -> None:
        over = [id for id, job in self._jobs.items() if job.over.is_set()]
        for id in over[: max(0, len(self._jobs) - _REMEMBERED)]:
            del self._jobs[id]

    def _next(self) -> None:
        """Start the process of whoever is next. The lock is held."""
        self._running = None
        while self._queue and self._running is None and not self._closed:
            job = self._queue.popleft()
            try:
                job.begin(_start())
            except OSError as error:
                job.fail(f"The training process could not be started: {error.strerror}. Send the text again later.")
                continue
            self._running = job
            threading.Thread(target=self._attend, args=(job, job.process), name="training", daemon=True).start()

    def _attend(self, job: Job, process: "subprocess.Popen[str]") -> None:
        orders, tells = cast(TextIOWrapper, process.stdin), cast(IO[str], process.stdout)
        order = {
            "user": job.user,
            "stay": job.stay and astuple(job.stay),
            "text": job.text,
            "files": job.files and {"bytes": len(job.files.data), "choices": asdict(job.files.choices)},
            "recipe": job.recipe.as_dict(),
            "add": job.add,
            "base": str(self._base),
            "store": self._store,
            "share": self._share,
            "memory_bytes": self._memory_bytes,
        }
        data = b"" if job.files is None else job.files.data
        job.text, job.files = "", None
        try:
            # Our end of the pipe stays open for as long as it shall live. One that is dead already is met below.
            with suppress(BrokenPipeError):
                orders.write(json.dumps(order) + "\n")
                orders.flush()
                orders.buffer.write(data)
                orders.buffer.flush()
            del order, data
            for line in tells:
                # Killed in the middle of a line, it leaves half of one.
                if line.endswith("\n"):
                    job.told(json.loads(line), self._reckoner)
        except BaseException:
            process.kill()
            raise
        finally:
            # Whatever happened, nobody is to wait for this job for ever, nor the next one for its turn.
            status = process.wait()
            with suppress(BrokenPipeError):
                orders.close()
            tells.close()
            try:
                job.shows_pace(self._reckoner)
            finally:
                with self._lock:
                    job.ended(status, self._memory_bytes)
                    self._next()


def _checked(user: str, text: str) -> str:
    text = normalise_newlines(text.removeprefix("\ufeff"))
    if not text.strip():
        raise TextError(f"The text of {user!r} is empty", remedy="Send what they wrote.")
    if "\0" in text:
        raise TextError(f"The text of {user!r} holds a NUL character", remedy="Send plain text.")
    # Whatever else is wrong with it is better said now than by a job that failed.
    split_text(text, user=user)
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise TextError(
            f"The text of {user!r} has {size / 1e6:.1f} MB",
            remedy=f"Send at most {MAX_TEXT_BYTES / 1e6:g} MB, or use sharedllm train.",
        )
    return text


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sharedllm.http.training_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        # It sees no GPU, which is the server's.
        env=worker_environment(store=True) | {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"},
        # An interrupt typed at the server's terminal is the server's to handle.
        start_new_session=True,
    )
