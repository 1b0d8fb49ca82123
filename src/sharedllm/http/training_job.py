"""One person's training in the background: how far it is, and what became of it."""

import logging
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from sharedllm.http.arrivals import Files
from sharedllm.http.reckoning import Reckoner
from sharedllm.store import Stay
from sharedllm.training.recipes import Recipe

log = logging.getLogger("sharedllm.http")

JobState = Literal["queued", "running", "done", "held_back", "failed", "cancelled"]

# The worker turns the signal into the status.
_ASKED_TO_END = (-signal.SIGTERM, 128 + signal.SIGTERM)


@dataclass(eq=False)
class Job:
    """One user's training.

    Attributes:
        id: 32 hexadecimal digits that nobody can guess.
        user: whose it is.
        recipe: how to train.
        stay: in which its text began to arrive.
        add: whether the text comes to what the release that answers was made from.
        state: ``done`` has a release that answers, ``held_back`` one that did not pass its gate.
        step: steps taken, those of an earlier run that this one goes on from among them.
        release: the number of the release, once there is one.
        gate: what the gate found, ``passed``, ``reason`` and ``figures``, once there is a release.
        error: why it failed.
        over: set when nothing will change any more.
        text: what it is to be trained on; empty once the training process has it.
        files: the same, where it is to be read from these; None once the training process has them.
        process: that process, while it runs.
        ending: whether it was told to end.
        reckoned: seconds that it takes, as far as can be told before it has a pace; None while its text is not read.
        waits: whether other work of this machine, which goes first, leaves it less than half of its share.
    """

    id: str
    user: str
    recipe: Recipe
    stay: Stay | None = None
    add: bool = False
    state: JobState = "queued"
    step: int = 0
    release: int | None = None
    gate: dict[str, Any] | None = None
    error: str | None = None
    over: threading.Event = field(default_factory=threading.Event)
    text: str = field(default="", repr=False)
    files: Files | None = field(default=None, repr=False)
    process: "subprocess.Popen[str] | None" = None
    ending: bool = False
    reckoned: float | None = None
    waits: bool = False
    # Of a text that is tested by parts, its characters.
    _by_parts: int | None = None
    _since: float = 0.0
    # The first step that was told here, and when it and the latest were.
    _began: tuple[int, float] | None = None
    _latest: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, at the pace so far, and before that as reckoned; None while there is no telling."""
        if self.state != "running":
            return None
        if self._began is None or self.step == self._began[0]:
            return self.reckoned
        step, at = self._began
        return (self.recipe.steps - self.step) * (self._latest - at) / (self.step - step)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the text."""
        return {
            "id": self.id,
            "user": self.user,
            "state": self.state,
            "recipe": self.recipe.name,
            "steps": {"done": self.step, "total": self.recipe.steps},
            "seconds_left": self.seconds_left,
            "waits": self.waits and self.state == "running",
            "release": self.release,
            "gate": self.gate,
            "error": self.error,
        }

    def begin(self, process: "subprocess.Popen[str]") -> None:
        """It is its turn, and this process trains."""
        self.state, self.process, self._since = "running", process, time.monotonic()

    def told(self, line: dict[str, Any], reckoner: Reckoner | None = None) -> None:
        """Take over a line of the training process; the reckoner says what the length of the text means."""
        if "by_parts" in line:
            self._by_parts = line["by_parts"]
            self.reckoned = None if reckoner is None else reckoner.seconds(self.recipe, self._by_parts)
        elif "waits" in line:
            self.waits = line["waits"]
        elif "step" in line:
            self.step, self._latest = line["step"], time.monotonic()
            self._began = self._began or (self.step, self._latest)
        elif "gate" in line:
            self.release, self.gate = line["release"], line["gate"]
        else:
            self.error = line["error"]
            log.error({"event": "training", "job": self.id, **line.get("log", {})})

    def shows_pace(self, reckoner: Reckoner) -> None:
        """Have the next one reckoned by how long the steps of this one took."""
        if self._began is not None and self.reckoned is not None:
            step, at = self._began
            reckoner.learn(self.recipe, self._by_parts, self.step - step, self._latest - at, at - self._since)

    def ended(self, status: int, memory_bytes: int) -> None:
        """Settle how it ended, from what it told and from the exit status of its process, which had so much memory."""
        if self.gate is not None:
            self.settle("done" if self.gate["passed"] else "held_back")
        elif self.ending:
            self.settle("cancelled")
        else:
            self.fail(self.error or _death(status, memory_bytes))

    def fail(self, why: str) -> None:
        """Settle that there will be no release."""
        self.error = why
        self.settle("failed")

    def settle(self, state: JobState) -> None:
        """Nothing changes any more."""
        self.state, self.process, self.text, self.files = state, None, "", None
        self.over.set()


def _death(status: int, memory_bytes: int) -> str:
    how = f"ended with status {status}" if status >= 0 else f"was stopped by {signal.Signals(-status).name}"
    why = ""
    if status == -signal.SIGKILL:
        why = ", as when the machine runs out of memory"
    elif status not in _ASKED_TO_END:
        # What is written in C may find no room in any way: by a fault, an abort or an exit of its own.
        why = f", as when there is no room for it in the {memory_bytes / 2**30:.1f} GiB that it may use here"
    return f"The training process {how}{why}. Send the text again; what was done is kept."
