"""How far a little text is followed: how many steps, and how much of the row that they make.

Of few words a row soon knows more than they say. So beside the row that is trained on all of a little text others are
trained on all but one block each (`text.folds`), in the same batch, and at some steps every block is read by the row
that has not seen it, whole and scaled towards what it began from. The steps and the scale that read all blocks best
decide which row is kept; nothing learnt at all is one of the choices. What is scaled is as if it had been trained with
a prior belief that it should not move, as ridge regression does (Hoerl and Kennard 1970), at no cost in training.
"""

from typing import TYPE_CHECKING

import numpy as np

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.evaluation.cross_validation import CrossValidated
from sharedllm.evaluation.perplexity import counts as tokens_predicted
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.text.windows import TokenizedText
from sharedllm.training.checkpoints import Progress
from sharedllm.training.recipes import Recipe

if TYPE_CHECKING:
    import torch

SCALES = (0.25, 0.5, 0.75, 1.0)
"""Of a row, at which it is tried."""

BLOCK_WINDOWS = 8
"""Windows read of each block, evenly spread: of four blocks as many as the gate reads of validation text."""

_HALVINGS = 5


def checks(recipe: Recipe, step: int) -> bool:
    """Whether blocks are read when so many steps are taken: at the last step, at half of it, a quarter and so on.

    A recipe that keeps its last row unseen is followed to that, and only its scale is chosen.
    """
    halvings = range(_HALVINGS + 1) if recipe.check_every else range(1)
    return step in {recipe.steps >> halving for halving in halvings}


def is_over(recipe: Recipe, step: int, stale: int) -> bool:
    """Whether training ends: at the last step, or when the steps were doubled without reading any better."""
    return step >= recipe.steps or stale > 0


def fits(text: TokenizedText, progress: Progress) -> bool:
    """Whether unfinished training is of a text as it is cut and read now."""
    rows = progress.values.reshape(-1, progress.best.shape[-1]).shape[0]
    read = (0, 0) if progress.read is None else tuple(progress.read.shape)
    windows = sum(min(len(fold.windows), BLOCK_WINDOWS) for fold in text.folds)
    checked = bool(text.folds and progress.losses)
    return rows == 1 + len(text.folds) and read == (
        (2 + len(SCALES) * len(progress.losses), windows) if checked else (0, 0)
    )


def read_blocks(
    base: Base,
    injection: Injection,
    text: TokenizedText,
    rows: "torch.Tensor",
    begun: "torch.Tensor",
    before: "torch.Tensor | None",
) -> "torch.Tensor":
    """Read every block by its own row at every scale, all blocks in their order.

    Args:
        base: the base.
        injection: of the rows' layout, attached to it.
        text: in folds.
        rows: ``[folds, P]``, what each has learnt of the other blocks.
        begun: ``[P]``, what they began from, which they are scaled towards.
        before: what was read at earlier steps; None for nothing.

    Returns:
        Nats, float64 ``[2 + steps * scales, windows]``: of the base, of what training began from, and then of every
        scale at every step.
    """
    import torch

    first = [] if before is not None else [torch.zeros_like(begun), begun]
    read = []
    for fold, row in zip(text.folds, rows, strict=True):
        table = torch.stack([*first, *(begun + scale * (row - begun) for scale in SCALES)]).cpu().numpy()
        losses = row_losses(base, injection, table, spread(fold.windows, BLOCK_WINDOWS))
        read.append(np.stack([each.nats for each in losses]))
    now = torch.from_numpy(np.concatenate(read, axis=1))
    return now if before is None else torch.cat([before, now])


def cross_validated(text: TokenizedText, steps: list[int], read: "torch.Tensor", *, grown: bool) -> CrossValidated:
    """What was read by now.

    Args:
        text: in folds.
        steps: at which blocks were read.
        read: as `read_blocks` gives it.
        grown: whether training began from something else than the base.
    """
    counts = [min(len(fold.windows), BLOCK_WINDOWS) for fold in text.folds]
    blocks = np.repeat(np.arange(len(counts)), counts)
    read_of_all = np.concatenate([spread(fold.windows, BLOCK_WINDOWS) for fold in text.folds])
    predicted = tokens_predicted(read_of_all, max(1, len(text.opening)))
    candidates = [(0, 0.0), *((step, scale) for step in steps for scale in SCALES)]
    of_base, *_ = nats = read.numpy()
    return CrossValidated(candidates, nats[1:], predicted, blocks, text.characters, of_base if grown else None)
