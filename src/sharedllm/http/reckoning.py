"""How long a training will take on this machine, told before it begins."""

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from sharedllm.cluster.fleets.sizing import core_seconds, tokens_of_training
from sharedllm.training.recipes import Recipe

_ENOUGH_STEPS = 8
_OUTPUT = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True)
class Reckoning:
    """What there is to say before a training.

    Attributes:
        seconds: that it takes if it takes every step; it is over sooner where nothing more is learned.
        waits: seconds until those before it are over.
        by_pace: whether that is from the last training here, or else from the machine that `fleet size` reckons from.
    """

    seconds: float
    waits: float
    by_pace: bool


def cores_of(share: float) -> tuple[float, int]:
    """Cores that a share of this machine is, and threads that a training computes with in it."""
    cores = share * (os.cpu_count() or 1)
    return cores, max(1, int(cores))


class Reckoner:
    """Reckons from what was measured elsewhere until a training here has shown its pace; safe to use from threads."""

    def __init__(self, base: Path, share: float) -> None:
        """Nothing was trained here yet.

        Args:
            base: the folder of the base.
            share: of this machine that trainings have.
        """
        cores, threads = cores_of(share)
        self._cores = min(cores, threads)
        self._multiplied = _multiplied(base)
        self._lock = threading.Lock()
        self._slower: float | None = None
        self._start = 0.0

    @property
    def by_pace(self) -> bool:
        """Whether a training here has shown its pace."""
        return self._slower is not None

    def seconds(self, recipe: Recipe, characters: int | None) -> float:
        """How long a training takes; the arguments are those of `tokens_of_training`."""
        with self._lock:
            return self._start + self._reckoned(recipe, characters) * (self._slower or 1.0)

    def learn(self, recipe: Recipe, characters: int | None, steps: int, seconds: float, start: float) -> None:
        """Take over how long so many steps of a training took, and all before the first, if they are enough to tell."""
        if steps >= _ENOUGH_STEPS and seconds > 0:
            with self._lock:
                self._start = start
                self._slower = seconds * recipe.steps / (steps * self._reckoned(recipe, characters))

    def _reckoned(self, recipe: Recipe, characters: int | None) -> float:
        return core_seconds(self._multiplied, *tokens_of_training(recipe, characters)) / self._cores


def _multiplied(base: Path) -> int:
    """Weights that a token is multiplied with: of matrices, without the input embeddings, which are looked up."""
    shapes = {name: shape for path in base.glob("*.safetensors") for name, shape in _shapes(path).items()}
    sizes = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) > 1}
    # Where they are one with the output embeddings these are not stored, and the one matrix is multiplied with.
    return sum(sizes.values()) - next((sizes[name] for name in _OUTPUT if name in sizes), 0)


def _shapes(path: Path) -> dict[str, list[int]]:
    with safe_open(path, framework="np") as stored:
        return {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118
