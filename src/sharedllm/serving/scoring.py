"""How likely given tokens are, under one row or several, without drawing any."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.serving.request import Scored
from sharedllm.serving.sampling import scored

if TYPE_CHECKING:
    import torch

_TOKENS_AT_ONCE = 256


def score(base: Base, injection: Injection, rows: "torch.Tensor", ids: Sequence[int], top: int) -> list[list[Scored]]:
    """Every token but the first, given those before it.

    Args:
        base: the base model.
        injection: of the rows' layout, attached to it.
        rows: ``[rows, P]``; each reads the whole sequence.
        ids: at least one token.
        top: how many of the likeliest tokens are told at every place.

    Returns:
        A list for each row, of one `Scored` for each token after the first.
    """
    import torch

    wide = torch.promote_types(base.dtype, torch.float32)
    tokens = torch.tensor([list(ids)] * len(rows), device=base.device)
    with torch.inference_mode(), injection.rows(rows, torch.arange(len(rows), device=base.device)):
        hidden = base.hidden(tokens)[:, :-1]
        found: list[list[Scored]] = [[] for _ in hidden]
        for states, own in zip(hidden, found, strict=True):
            # The logits of a long text do not fit memory all at once.
            for begin in range(0, len(states), _TOKENS_AT_ONCE):
                logits = (states[begin : begin + _TOKENS_AT_ONCE] @ base.head.T).to(wide)
                given = list(ids[begin + 1 : begin + 1 + len(logits)])
                own.extend(scored(logits, given, [top] * len(given)))
    return found
