"""Which windows of a user's text a step reads: a pure function of seed, text and step."""

import hashlib

import numpy as np
import numpy.typing as npt

from sharedllm.errors import TooLittleText
from sharedllm.text.windows import TokenizedText, spans, window_at
from sharedllm.training.recipes import Recipe


def step_windows(text: TokenizedText, recipe: Recipe, step: int) -> npt.NDArray[np.int64]:
    """The sequences of one user for one step, int64 ``[windows_per_step, window]``, the text's window or the recipe's.

    Each epoch cuts the training ids into windows at a phase of its own and reads them in a shuffled order, none twice.
    Nothing depends on who else is being trained, on earlier calls or on a shared generator, so a run can be resumed at
    any step and a user's batches are theirs alone. What is read and never predicted stands as its complement.

    Raises:
        TooLittleText: there are fewer training ids than one window takes.
    """
    tokens, length = len(text.train), (text.window or recipe.window) - len(text.opening)
    if tokens < length:
        raise TooLittleText(
            f"The text of {text.user!r} has {tokens:,} tokens to train on, and a window takes {length:,}",
            remedy="Give more text, or use a recipe with a shorter window.",
        )
    draws = range(step * recipe.windows_per_step, (step + 1) * recipe.windows_per_step)
    if (text.train < 0).any():
        return np.stack([_drawn(text, recipe, draw, length) for draw in draws])
    per_epoch = (tokens - length) // length
    if per_epoch < 1:
        return np.stack([_cut(text, 0, length)] * recipe.windows_per_step)
    chosen = []
    for draw in draws:
        epoch, position = divmod(draw, per_epoch)
        random = _random(text, recipe, epoch)
        phase = int(random.integers(length))
        order = random.permutation(per_epoch)
        chosen.append(_cut(text, phase + int(order[position]) * length, length))
    return np.stack(chosen)


def _drawn(text: TokenizedText, recipe: Recipe, draw: int, length: int) -> npt.NDArray[np.int64]:
    """A window of conversations: an epoch has as many as its phase makes of them, and predicts everything once."""
    epoch = 0
    while True:
        random = _random(text, recipe, epoch)
        cuts = spans(text.train, length, 1 + int(random.integers(length)))
        if not cuts:
            raise TooLittleText(
                f"The text of {text.user!r} has nothing to learn in {len(text.train):,} tokens",
                remedy="Give text with more words of their own.",
            )
        if draw < len(cuts):
            start, begin, end = cuts[int(random.permutation(len(cuts))[draw])]
            window = window_at(text.train, start, begin, end, length)
            return np.concatenate([np.asarray(text.opening, np.int64), window])
        draw, epoch = draw - len(cuts), epoch + 1


def _cut(text: TokenizedText, start: int, length: int) -> npt.NDArray[np.int64]:
    return np.concatenate([np.asarray(text.opening, np.int64), text.train[start : start + length]])


def _random(text: TokenizedText, recipe: Recipe, epoch: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{text.sha256} {recipe.seed} {epoch}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
