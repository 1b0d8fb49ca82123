"""Many users' vectors trained in one batch; one user is a batch of one.

Each pass takes some users' next sequences, gives every sequence its user's row, and sums the users' losses. A row only
touches the sequences of its own user, so the gradient of the sum with respect to a row is that user's gradient.
"""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm import __version__
from sharedllm.adapters.adapter import Adapter, check_fits, meaning
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import Layout
from sharedllm.adapters.provenance import CROSS_VALIDATED, LEARN
from sharedllm.base.context_length import check_window
from sharedllm.base.loading import Base
from sharedllm.base.sites import site_gains
from sharedllm.errors import Diverged, InvalidInput, SharedLLMError, TrainingError
from sharedllm.evaluation.cross_validation import CrossValidated
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.text.folds import FOLDS
from sharedllm.text.windows import TokenizedText
from sharedllm.training import little
from sharedllm.training.checkpoints import Checkpoints, Progress
from sharedllm.training.optimiser import RowState
from sharedllm.training.recipes import Recipe
from sharedllm.training.row_gradients import row_gradients
from sharedllm.training.step_windows import step_windows

if TYPE_CHECKING:
    import torch

VALIDATION_WINDOWS = 8
"""Validation windows read at each check; the gate reads more."""

_CHECKPOINT_SECONDS = 20.0
_TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 65_536}


@dataclass(frozen=True, eq=False)
class Trained:
    """What became of one user.

    Attributes:
        user: the user id.
        adapter: the trained adapter, or None where training failed.
        error: why it failed.
        losses: (step, validation loss in nats per token) of every check.
        cross_validated: what judges a text in folds, which has no validation text.
    """

    user: str
    adapter: Adapter | None
    error: SharedLLMError | None
    losses: list[tuple[int, float]]
    cross_validated: CrossValidated | None = None


@dataclass(eq=False)
class _Slot:
    """A place in the batch: one user, and the numbers of their rows: one for every fold of a text, and last their own.

    The progress is of whole steps, replaced at once when one is over: an interruption at any point leaves the last.
    """

    text: TokenizedText
    rows: list[int]
    progress: Progress

    @property
    def reads(self) -> list[TokenizedText]:
        """What each row is trained on."""
        return [*(replace(self.text, train=fold.train) for fold in self.text.folds), self.text]


def train_vectors(
    base: Base,
    injection: Injection,
    texts: Iterable[TokenizedText],
    recipe: Recipe,
    *,
    curvature: npt.NDArray[np.float32] | None = None,
    starts: Mapping[str, Adapter] | None = None,
    checkpoints: Checkpoints | None = None,
    on_step: Callable[[str, int], Any] | None = None,
) -> Generator[Trained, None, None]:
    """Train one adapter per text, as many users at once as fit, and yield each as it is done.

    A user's result does not depend on who else is in the batch, beyond the rounding of differently shaped matrix
    products. A user whose loss stops being finite is yielded with an error; the others go on. When the iterator is
    closed or interrupted, a checkpoint is written of every user whose result the consumer has not taken and come back
    from for the next; it holds whole steps, so that a resumed run ends with the same bits.

    Args:
        base: the frozen base.
        injection: of the layout to train, attached to it.
        texts: the users, read lazily.
        recipe: its ``method`` is the layout's format.
        curvature: of the layout on the base, as `measure_curvature` gives it, for a recipe whose optimiser is
            ``natural``.
        starts: by user, the adapter whose training goes on; everybody else's begins at the base.
        checkpoints: where to keep and find unfinished training; None keeps nothing.
        on_step: told the user and the steps taken, after each step.

    Raises:
        InvalidInput: the recipe's method is not the format of the injection's layout, or it takes a curvature and none
            is given.
        UnsupportedBase: the recipe's windows are longer than the base's context.
        WrongBase: an adapter to go on from is of another base or format.
        DiskFull: a checkpoint could not be written.
    """
    if recipe.method != injection.layout.format:
        raise InvalidInput(
            f"A recipe for {recipe.method} cannot train the {injection.layout.format} format",
            remedy="Attach the layout of the recipe's method, or change the method.",
        )
    if recipe.optimiser == "natural" and curvature is None:
        raise InvalidInput(
            f"The recipe {recipe.name!r} follows the natural gradient, and no curvature is given",
            remedy="Give what measure_curvature finds on general text, or use a recipe with the optimiser adamw.",
        )
    check_window(base, recipe.window)
    for start in (starts or {}).values():
        check_fits(start, injection.layout)
    if recipe.optimiser != "natural":
        curvature = None
    return _Batch(base, injection, recipe, curvature, starts or {}, checkpoints, on_step).run(iter(texts))


class _Batch:
    def __init__(
        self,
        base: Base,
        injection: Injection,
        recipe: Recipe,
        curvature: npt.NDArray[np.float32] | None,
        starts: Mapping[str, Adapter],
        checkpoints: Checkpoints | None,
        on_step: Callable[[str, int], Any] | None,
    ) -> None:
        import torch

        self._base, self._injection, self._recipe, self._starts = base, injection, recipe, starts
        self._checkpoints, self._on_step = checkpoints, on_step
        size = max(1, _TOKENS_AT_ONCE.get(base.device.type, 2048) // (recipe.windows_per_step * recipe.window))
        dtype = torch.promote_types(base.dtype, torch.float32)
        self._size, rows = size, max(size, 1 + FOLDS)
        self._state = RowState.zeros(rows, injection.layout.size, base.device, dtype)
        self._relative = _relative_per_parameter(base, injection.layout, recipe).to(dtype)
        self._sites = injection.layout.sites_sha256
        if curvature is not None:
            # Momentum is in units of the curvature, which another general text or machine may give otherwise.
            self._sites = hashlib.sha256(f"{self._sites} ".encode() + curvature.tobytes()).hexdigest()
        self._curvature = None if curvature is None else torch.from_numpy(curvature).to(self._relative)
        self._free = list(range(rows))

    def run(self, texts: Iterator[TokenizedText]) -> Generator[Trained, None, None]:
        slots: list[_Slot] = []
        waiting: TokenizedText | None = None
        saved_at = time.monotonic()
        try:
            while True:
                while self._fits(waiting, slots) and (found := waiting or next(texts, None)) is not None:
                    waiting = found
                    if self._fits(found, slots):
                        slots.append(self._admit(found))
                        waiting = None
                if not slots:
                    return
                for slot, error in self._step(slots):
                    # Should the consumer fail here, the work must be there again: the slot is kept until they are back.
                    yield self._result(slot, error)
                    slots.remove(slot)
                    self._free += slot.rows
                    if self._checkpoints:
                        self._checkpoints.discard(
                            slot.text.user, slot.text.sha256, self._recipe, self._start(slot.text)
                        )
                if time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                    self._save(slots)
                    saved_at = time.monotonic()
        finally:
            self._save(slots)

    def _fits(self, text: TokenizedText | None, slots: list[_Slot]) -> bool:
        """Whether a user has room; one whose text is in folds may have more than everybody's, alone."""
        rows = 1 if text is None else 1 + len(text.folds)
        return not slots or sum(len(slot.rows) for slot in slots) + rows <= self._size

    def _admit(self, text: TokenizedText) -> _Slot:
        import torch

        rows, progress = [self._free.pop() for _ in range(1 + len(text.folds))], None
        start = self._start(text)
        if self._checkpoints:
            progress = self._checkpoints.load(text.user, text.sha256, self._recipe, start)
        sites = self._sites
        # What a format does under its name may have changed since, or how little text is read.
        if progress is None or progress.sites not in (None, sites) or not little.fits(text, progress):
            zeros = torch.zeros_like(self._state.values[rows])
            begun = self._origin(text)
            progress = Progress(0, zeros + begun, zeros, zeros, begun, math.inf, 0, [], sites)
        kept = {name: getattr(progress, name).to(self._state.values) for name in ("values", "mean", "square", "best")}
        for name in ("values", "mean", "square"):
            kept[name] = kept[name].view(len(rows), -1)
            getattr(self._state, name)[rows] = kept[name]
        return _Slot(text, rows, replace(progress, **kept))

    def _start(self, text: TokenizedText) -> Adapter | None:
        return self._starts.get(text.user)

    def _origin(self, text: TokenizedText) -> "torch.Tensor":
        """Where training begins, ``[P]``: what is moved for a row, which is the row itself or gains, or nothing.

        What cannot move stays at the base.
        """
        import torch

        start = self._start(text)
        if start is None:
            return torch.zeros_like(self._state.values[0])
        row = torch.tensor(start.values).to(self._relative)
        return torch.where(self._relative == 0, torch.zeros_like(row), row / self._relative)

    def _step(self, slots: list[_Slot]) -> list[tuple[_Slot, SharedLLMError | None]]:
        """One step of every user in the batch; returns those who are done, with the error that ended them if any."""
        # A resumed user may have been done already.
        done: list[tuple[_Slot, SharedLLMError | None]] = [(slot, None) for slot in slots if self._is_over(slot)]
        running = [slot for slot in slots if not self._is_over(slot)]
        for window in dict.fromkeys(slot.text.window for slot in running):
            done += self._step_together([slot for slot in running if slot.text.window == window])
        return done

    def _step_together(self, running: list[_Slot]) -> list[tuple[_Slot, SharedLLMError | None]]:
        """One step of users whose sequences are equally long."""
        import torch

        recipe, done = self._recipe, list[tuple[_Slot, SharedLLMError | None]]()
        owners = [slot for slot in running for _ in slot.rows]
        rows = [row for slot in running for row in slot.rows]
        errors: dict[int, Exception] = {}
        drawn = [step_windows(text, recipe, slot.progress.step) for slot in running for text in slot.reads]
        windows = np.concatenate(drawn)
        losses, gradient = self._gradients(rows, torch.from_numpy(windows).to(self._base.device), errors)
        finite = (torch.isfinite(losses) & torch.isfinite(gradient).all(dim=1)).tolist()
        ill = {slot for slot, good in zip(owners, finite, strict=True) if not good}
        healthy = [place for place, slot in enumerate(owners) if slot not in ill]
        self._state.update(
            [rows[place] for place in healthy],
            gradient[healthy],
            [owners[place].progress.step for place in healthy],
            recipe,
            self._curvature,
        )
        for slot in running:
            try:
                progress = None if slot in ill else self._progress(slot)
            except Exception as error:
                progress, errors[slot.rows[0]] = None, error
            if progress is None:
                cause = next((errors[row] for row in slot.rows if row in errors), None)
                done.append((slot, own_failure(slot.text.user, "Training", cause) if cause else _diverged(slot)))
                continue
            slot.progress = progress
            if self._on_step:
                self._on_step(slot.text.user, progress.step)
            if self._is_over(slot):
                done.append((slot, None))
        return done

    def _is_over(self, slot: _Slot) -> bool:
        over = little.is_over if slot.text.folds else Recipe.is_over
        return over(self._recipe, slot.progress.step, slot.progress.stale)

    def _gradients(
        self, rows: list[int], windows: "torch.Tensor", errors: dict[int, Exception]
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """What `_gradient` gives, and no numbers for rows that it cannot be computed with, whose errors are added."""
        import torch

        try:
            return self._gradient(rows, windows)
        except Exception as error:
            if len(rows) == 1:
                errors[rows[0]] = error
                none = torch.full_like(self._state.values[rows], math.nan)
                return none[:, 0], none
        # What cannot be computed together can be told apart: everybody's loss is their own.
        apart = zip(rows, torch.split(windows, self._recipe.windows_per_step), strict=True)
        losses, gradients = zip(*(self._gradients([row], own, errors) for row, own in apart), strict=True)
        return torch.cat(losses), torch.cat(gradients)

    def _gradient(self, rows: list[int], windows: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
        return row_gradients(self._base, self._injection, self._state.values[rows], windows, self._relative)

    def _progress(self, slot: _Slot) -> Progress | None:
        """Where the user stands after an update, validated if it is time to; None if that loss is no number."""
        before = slot.progress
        # Indexing by a list copies.
        rows = {name: getattr(self._state, name)[slot.rows] for name in ("values", "mean", "square")}
        after = replace(before, step=before.step + 1, **rows)
        if slot.text.folds:
            return self._cross_validate(slot.text, after) if little.checks(self._recipe, after.step) else after
        (values,) = after.values
        if not self._recipe.check_every:
            return replace(after, best=values)
        if not self._recipe.checks(after.step):
            return after
        loss = self._validate(slot.text, values)
        if not math.isfinite(loss):
            return None
        after = replace(after, losses=[*before.losses, (after.step, loss)])
        if loss < before.best_loss:
            return replace(after, best=values, best_loss=loss, stale=0)
        return replace(after, stale=before.stale + 1)

    def _cross_validate(self, text: TokenizedText, after: Progress) -> Progress | None:
        """What a step came to by the reading of blocks; None if a loss is no number."""
        import torch

        origin = self._origin(text)
        rows, begun = after.values[:-1] * self._relative, origin * self._relative
        read = little.read_blocks(self._base, self._injection, text, rows, begun, after.read)
        if not torch.isfinite(read).all():
            return None
        steps = [*(step for step, _ in after.losses), after.step]
        found = little.cross_validated(text, steps, read, grown=self._start(text) is not None)
        loss = found.loss_at(after.step)
        after = replace(after, read=read, losses=[*after.losses, (after.step, loss)])
        step, scale = found.chosen
        if step == after.step:
            return replace(after, best=origin + scale * (after.values[-1] - origin), best_loss=loss, stale=0)
        return replace(after, stale=after.stale + 1)

    def _validate(self, text: TokenizedText, values: "torch.Tensor") -> float:
        row = (values * self._relative).cpu().numpy()
        (losses,) = row_losses(self._base, self._injection, row[None], spread(text.validation, VALIDATION_WINDOWS))
        return losses.nats_per_token

    def _result(self, slot: _Slot, error: SharedLLMError | None) -> Trained:
        if error is not None:
            return Trained(slot.text.user, None, error, slot.progress.losses)
        provenance = {
            "recipe": self._recipe.as_dict(),
            "steps": slot.progress.step,
            "text_sha256": slot.text.sha256,
            "tokens": slot.text.tokens,
            "repeated_lines": slot.text.repeats.lines,
            "repeated_share": slot.text.repeats.share,
            "version": __version__,
            LEARN: slot.text.learn,
            **meaning(self._injection.layout),
        }
        found = None
        if slot.progress.read is not None:
            steps, grown = [step for step, _ in slot.progress.losses], self._start(slot.text) is not None
            found = little.cross_validated(slot.text, steps, slot.progress.read, grown=grown)
            provenance[CROSS_VALIDATED] = found.as_dict()
        values = (slot.progress.best * self._relative).float().cpu().numpy()
        adapter = Adapter(self._injection.layout.format, self._base.fingerprint, values, provenance)
        return Trained(slot.text.user, adapter, None, slot.progress.losses, found)

    def _save(self, slots: list[_Slot]) -> None:
        if self._checkpoints is None:
            return
        for slot in slots:
            self._checkpoints.save(
                slot.text.user, slot.text.sha256, self._recipe, slot.progress, self._start(slot.text)
            )


def _relative_per_parameter(base: Base, layout: Layout, recipe: Recipe) -> "torch.Tensor":
    """How far ``s`` moves when the trained parameter moves by one: ``[P]``.

    Where the parameter is the gain itself, ``g = g_base (1 + s)`` makes it ``1 / g_base``; a gain of zero stays zero.
    """
    import torch

    if recipe.parameter == "relative":
        return torch.ones(layout.size, device=base.device)
    gains = site_gains(base.model, layout.sites)
    return torch.where(gains == 0, torch.zeros_like(gains), 1 / gains)


def own_failure(user: str, what: str, error: Exception) -> SharedLLMError:
    """What went wrong with one user, as an error that is theirs alone."""
    if isinstance(error, SharedLLMError):
        return error
    failure = TrainingError(
        f"{what} failed for {user!r}: {type(error).__name__}: {error}",
        remedy="Nobody else was affected. Report this if the text is as it should be.",
    )
    failure.__cause__ = error
    return failure


def _diverged(slot: _Slot) -> Diverged:
    return Diverged(
        f"The loss of {slot.text.user!r} stopped being finite at step {slot.progress.step}",
        remedy="Train them again with a lower learning rate; nobody else was affected.",
    )
