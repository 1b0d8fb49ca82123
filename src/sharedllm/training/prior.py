"""What many people have in common, learned from all of them at once: frames, trained through people's adaptation.

Every projection gets two narrow matrices ``A`` and ``B`` (Hu et al. 2022, LoRA, section 4.1), which all people share,
and every contributor coordinates of their own, one for each component: ``y = W x + B ((1 + d_u) * (A x))``. Both are
trained together, so that the frames become the directions in which people differ and ``B A`` what they share (Collins
et al. 2021, FedRep, is a name for that shape). The coordinates are thrown away: a prior holds nobody's.
"""

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from sharedllm.base.frames import Frame
from sharedllm.base.loading import Base
from sharedllm.closing import Closing
from sharedllm.errors import Diverged, InvalidInput
from sharedllm.training.checkpoints import keep
from sharedllm.training.coordinates import KeptCoordinates
from sharedllm.training.frame_gradients import FrameGradients, GradientOf
from sharedllm.training.optimiser import adamw, clipped
from sharedllm.training.private import PrivateSteps
from sharedllm.training.recipes import pace

if TYPE_CHECKING:
    import torch

_BETAS = 0.9, 0.99
_CHECKPOINT_SECONDS = 60.0
_UNSETTLED_BYTES = 64_000_000
_TOKENS_KEPT = 32_000_000
_CHECKPOINT = "frames-in-training.safetensors"


@dataclass(frozen=True)
class PriorRecipe:
    """How a prior is trained.

    Attributes:
        rank: components at each projection.
        steps: of the frames.
        people: whose windows a step reads, each another's until everybody's turn has come.
        windows: of each of them in a step.
        window: tokens in one.
        learning_rate: of the frames, at its peak; a cosine to zero follows the warmup.
        own_rate: of a contributor's coordinates, likewise.
        warmup: steps over which the rates rise linearly.
        weight_decay: AdamW's decoupled decay of the frames.
        clip: the largest norm of a step's gradient; with noise, of each person's.
        noise: standard deviation of the noise of each step, in units of ``clip``; 0 is none. With noise a step takes
            everybody with the same probability, ``people`` of them on average, and the frames keep each person's part
            in them private; see `training.private`.
        seed: of the first ``A``, of the order of people, and of which windows are read.
    """

    rank: int = 16
    steps: int = 900
    people: int = 8
    windows: int = 1
    window: int = 256
    learning_rate: float = 1e-3
    own_rate: float = 1e-2
    warmup: int = 30
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field, value in asdict(self).items():
            whole, least = isinstance(getattr(PriorRecipe, field), int), field not in ("seed", "warmup")
            right = isinstance(value, int) if whole else isinstance(value, int | float) and math.isfinite(value)
            if not right or value < 0 or (whole and least and value < 1):
                raise InvalidInput(
                    f"The {field} of the prior's recipe is {value!r}",
                    remedy=f"Give a {'whole ' if whole else 'finite '}number of at least {int(whole and least)}.",
                )
        if self.noise and not self.clip:
            raise InvalidInput(
                f"The clip of the prior's recipe is {self.clip!r}, which is no bound that noise could hide",
                remedy="Give a clip above 0, or no noise.",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; one without noise says nothing of it, as before there was any."""
        return {field: value for field, value in asdict(self).items() if field != "noise" or value}

    def rate(self, count: int) -> float:
        """The share of ``count`` people that a step reads."""
        return min(self.people, count) / count

    def turn(self, step: int, count: int) -> list[int]:
        """Which of ``count`` people a step reads: a function of seed and step alone.

        Everybody's turn comes once before anybody's comes again.
        """
        people = min(self.people, count)
        first, last = step * people, (step + 1) * people
        rounds = range(first // count, (last - 1) // count + 1)
        # Of many people an order takes longer to draw than a step may wait for, more than once.
        orders = {each: np.random.default_rng([self.seed, each]).permutation(count) for each in rounds}
        return [int(orders[draw // count][draw % count]) for draw in range(first, last)]

    def windows_of(self, ids: npt.NDArray[np.int32], opening: Sequence[int], visit: str) -> npt.NDArray[np.int64]:
        """The sequences of one person at one visit, int64 ``[windows, window]``; a short text is repeated.

        Args:
            ids: of their text, without ``opening``; at least one.
            opening: what the tokenizer begins every text with.
            visit: says which, such as the step and the text's hash.
        """
        length = self.window - len(opening)
        ids = np.tile(ids, math.ceil(length / len(ids))) if len(ids) < length else ids
        digest = hashlib.sha256(f"{self.seed} {visit}".encode()).digest()
        starts = np.random.default_rng(int.from_bytes(digest[:16], "little")).integers(
            len(ids) - length + 1, size=self.windows
        )
        return np.stack([[*opening, *ids[start : start + length]] for start in starts]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Contributor:
    """Somebody whose text goes into a prior.

    Attributes:
        user: who.
        read: what they wrote; called again whenever it is not at hand.
    """

    user: str
    read: Callable[[], str]


def train_prior(
    base: Base,
    people: Sequence[Contributor],
    recipe: PriorRecipe,
    *,
    folder: Path | None = None,
    on_step: Callable[[int, float], Any] | None = None,
    gradient: "GradientOf | None" = None,
) -> dict[str, Frame]:
    """Train frames for a base through people's adaptation.

    Memory does not grow with the people: coordinates and their moments are in a file of the folder, and of the texts a
    bounded number of tokens is at hand. An interrupted call goes on where the last checkpoint was, bit for bit.

    Args:
        base: the bare base.
        people: the contributors, always in the same order.
        recipe: how to train.
        folder: of this training alone, where it is kept until it is done; None keeps nothing.
        on_step: told of the steps taken, and of the mean loss of the last one in nats per token; with noise it may have
            read nobody, which has none (nan), and what is told is not private.
        gradient: computes gradients, somewhere; by default `FrameGradients` on the base.

    Raises:
        InvalidInput: fewer than two people.
        UnsupportedBase: see `projections`.
        TextError: a text cannot be read.
        Diverged: the loss stopped being finite.
        DiskFull, TrainingError: a checkpoint cannot be written.
    """
    if len(people) < 2:
        raise InvalidInput(
            f"A prior is what people have in common, and there {'is one' if people else 'are none'}",
            remedy="Give a manifest of many people.",
        )
    with _Run(base, people, recipe, folder, gradient) as run:
        run.steps(on_step)
        return run.gradients.frames(run.values)


class _Run(Closing):
    """One training: values and moments of the frames, and where each contributor stands."""

    def __init__(
        self,
        base: Base,
        people: Sequence[Contributor],
        recipe: PriorRecipe,
        folder: Path | None,
        gradient: "GradientOf | None",
    ) -> None:
        import torch

        self._base, self._people, self._recipe, self._folder = base, people, recipe, folder
        self.gradients = FrameGradients(base, recipe.rank)
        self._gradient_of = gradient or self.gradients.gradient
        # In half precision a step would be lost to rounding.
        dtype = torch.promote_types(base.dtype, torch.float32)
        self.values = self.gradients.first(recipe.seed).to(base.device, dtype)
        self._mean, self._square = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self._step = 0
        self._own = KeptCoordinates(len(people), self.gradients.components, self.values.cpu().numpy().dtype, folder)
        self._ids: dict[int, npt.NDArray[np.int32]] = {}
        self._opening = base.encode("")
        self._private: PrivateSteps | None = None
        if recipe.noise:
            count = len(people)
            self._private = PrivateSteps(secrets.randbits(128), count, recipe.rate(count), recipe.clip, recipe.noise)

    def close(self) -> None:
        self.gradients.remove()
        self._own.close()

    def steps(self, on_step: Callable[[int, float], Any] | None) -> None:
        self._load()
        saved = time.monotonic()
        try:
            while self._step < self._recipe.steps:
                loss = self._advance()
                if on_step is not None:
                    on_step(self._step, loss)
                if time.monotonic() - saved > _CHECKPOINT_SECONDS or self._own.unsettled > _UNSETTLED_BYTES:
                    self._save()
                    saved = time.monotonic()
        finally:
            self._save()

    def _advance(self) -> float:
        import torch

        recipe, step = self._recipe, self._step
        turn = recipe.turn(step, len(self._people)) if self._private is None else self._private.turn(step)
        windows = [recipe.windows_of(self._tokens(each), self._opening, f"{step} {each}") for each in turn]
        rows = torch.from_numpy(self._own.read(turn)).to(self.values.device)
        losses, gradient, of_own = self._gradient(rows[:, 0], windows)
        share = pace("cosine", step, recipe.steps, recipe.warmup)
        values, mean, square = adamw(
            (self.values, self._mean, self._square),
            gradient,
            rate=recipe.learning_rate * share,
            betas=_BETAS,
            unbiased=_unbiased(step),
            decay=recipe.weight_decay,
        )
        visits = step * min(recipe.people, len(self._people)) // len(self._people)
        own = adamw(
            (rows[:, 0], rows[:, 1], rows[:, 2]),
            of_own,
            rate=recipe.own_rate * share,
            betas=_BETAS,
            unbiased=_unbiased(visits),
            decay=0.0,
        )
        # Whatever interrupts, a step is taken whole or not at all.
        self._own.write(turn, torch.stack(own, 1).cpu().numpy())
        self.values, self._mean, self._square, self._step = values, mean, square, step + 1
        return float(losses.mean()) if turn else math.nan

    def _gradient(
        self, own: "torch.Tensor", windows: Sequence[npt.NDArray[np.int64]]
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Everybody's losses, the gradient that the frames follow, and those of people's coordinates."""
        import torch

        recipe, private = self._recipe, self._private
        read = np.concatenate([np.zeros((0, recipe.window), np.int64), *windows])
        losses, total, of_own = self._gradient_of(self.values, own, read, None if private is None else private.bound)
        if private is None:
            gradient = clipped(total / len(own), recipe.clip)
        else:
            gradient = (private.noise_like(self.values, self._step) + total) / private.expected
        if not bool(torch.isfinite(gradient).all()):
            raise Diverged(
                f"The loss of the prior stopped being finite at step {self._step}",
                remedy=f"Train it again with a lower learning rate{' or less noise' if private else ''}.",
            )
        return losses, gradient, of_own

    def _tokens(self, person: int) -> npt.NDArray[np.int32]:
        if person not in self._ids:
            text = self._people[person].read()
            self._ids[person] = np.asarray(self._base.encode(text)[len(self._opening) :], np.int32)
            while sum(map(len, self._ids.values())) > _TOKENS_KEPT and len(self._ids) > 1:
                del self._ids[next(iter(self._ids))]
        return self._ids[person]

    def _load(self) -> None:
        if self._folder is None:
            return
        try:
            with safe_open(self._folder / _CHECKPOINT, "pt") as stored:
                about = json.loads(stored.metadata()["about"])
                tensors = {name: stored.get_tensor(name) for name in ("values", "mean", "square", "own")}
            if about["run"] != self._name():
                raise KeyError(about["run"])
            step, turn, key = int(about["step"]), list(about["turn"]), about["key"]
            private = self._private and replace(self._private, key=int(key, 16))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            # What there is not, cannot be read or is another's is begun again.
            self._own.clear()
            return
        self._own.restore(turn, tensors.pop("own").numpy())
        self.values, self._mean, self._square = (each.to(self.values.device) for each in tensors.values())
        self._private, self._step = private, step

    def _save(self) -> None:
        if self._folder is None:
            self._own.settle()
            return
        from safetensors.torch import save

        turn, own = self._own.since()
        key = None if self._private is None else f"{self._private.key:x}"
        about = {"run": self._name(), "step": self._step, "turn": turn, "key": key}
        tensors = {"values": self.values, "mean": self._mean, "square": self._square}
        import torch

        data = save(
            {**{name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, "own": torch.from_numpy(own)},
            metadata={"about": json.dumps(about)},
        )
        keep(self._folder / _CHECKPOINT, data, f"A checkpoint cannot be written to {self._folder}", "training resumes")
        self._own.settle()

    def _name(self) -> str:
        people = [person.user for person in self._people]
        run = [self._base.fingerprint, self._recipe.as_dict(), people, str(self.values.dtype)]
        return hashlib.sha256(json.dumps(run).encode()).hexdigest()


def _unbiased(steps: int) -> tuple[float, float]:
    """What moments are divided by after so many steps and one more."""
    return 1 - _BETAS[0] ** (steps + 1), 1 - _BETAS[1] ** (steps + 1)
