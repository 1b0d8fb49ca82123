"""Logits to tokens, each request on its own: nothing drawn here depends on who else is in the batch."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sharedllm.errors import RequestFailed
from sharedllm.serving.request import Sampling, Scored

if TYPE_CHECKING:
    import torch

_LIKELIEST = 256
"""As many tokens are sorted first; a ``top_p`` that they do not add up to sorts the whole vocabulary."""


def draw(logits: "torch.Tensor", samplings: Sequence[Sampling], positions: Sequence[int]) -> list[int]:
    """One token for each row of logits.

    Args:
        logits: float, ``[rows, vocabulary]``.
        samplings: how each row is drawn.
        positions: how many tokens each request had drawn before.

    Raises:
        RequestFailed: the logits of a row are no numbers.
    """
    tokens = _likeliest(logits)
    # Whatever is no number counts as the largest.
    peaks = logits.gather(1, logits.new_tensor(tokens).long()[:, None])
    if (~peaks.isfinite()).cpu().any():
        raise overflown()
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if warm:
        temperatures = logits.new_tensor([samplings[row].temperature for row in warm])
        # Less the largest first: a tiny temperature would overflow what it divides.
        shifted = logits[warm] - logits[warm].amax(dim=-1, keepdim=True)
        probabilities = (shifted / temperatures[:, None]).softmax(dim=-1)
        floors = logits.new_tensor([samplings[row].min_p for row in warm])
        if floors.any():
            # Both bounds are of the whole distribution, so it does not matter which of them comes first.
            least = floors[:, None] * probabilities.amax(dim=-1, keepdim=True)
            probabilities = probabilities.masked_fill(probabilities < least, 0.0)
        for place, row in enumerate(warm):
            noise = uniform(samplings[row], positions[row])
            tokens[row] = _invert(probabilities[place], samplings[row].top_p, noise)
    return tokens


def uniform(sampling: Sampling, position: int) -> float:
    """The noise of one token, in [0, 1): a function of seed, choice and position (Philox; Salmon et al. 2011)."""
    source = np.random.Philox(key=np.array([sampling.seed % 2**64, sampling.choice], np.uint64), counter=position)
    return float(np.random.Generator(source).random())


def scored(logits: "torch.Tensor", tokens: Sequence[int], tops: Sequence[int]) -> list[Scored]:
    """Each row's token with its log-probability and as many of the likeliest as asked for.

    Args:
        logits: float, ``[rows, vocabulary]``.
        tokens: one a row.
        tops: how many of the likeliest tokens are told, a row.

    Raises:
        RequestFailed: the logits of a row are no numbers.
    """
    logprobs = logits.log_softmax(dim=-1)
    own = logprobs.gather(1, logprobs.new_tensor(tokens).long()[:, None])[:, 0].tolist()
    if any(map(math.isnan, own)):
        raise overflown()
    most = max(tops, default=0)
    found: list[tuple[tuple[int, float], ...]] = [()] * len(tokens)
    if most:
        values, ids = logprobs.topk(most, dim=-1)
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        found = [tuple(zip(ids[:top], each[:top], strict=True)) for (ids, each), top in zip(pairs, tops, strict=True)]
    return [Scored(token, logprob, top) for token, logprob, top in zip(tokens, own, found, strict=True)]


def overflown() -> RequestFailed:
    """The error of a request whose logits are no numbers."""
    return RequestFailed(
        "The logits of this request are no numbers", remedy="The release that answers overflows: roll back or retrain."
    )


def _likeliest(logits: "torch.Tensor") -> list[int]:
    # numpy's is ten times as fast as torch's where both can be had.
    found = logits.numpy().argmax(-1) if logits.device.type == "cpu" else logits.argmax(dim=-1)
    tokens: list[int] = found.tolist()
    return tokens


def _invert(probabilities: "torch.Tensor", top_p: float, noise: float) -> int:
    """The token at which the probabilities, cut to the nucleus, first add up to more than the noise."""
    import torch

    if top_p >= 1:
        sums = probabilities.double().cumsum(0)
        return int(torch.searchsorted(sums, noise * sums[-1], right=True).clamp(max=len(sums) - 1))
    for width in (min(_LIKELIEST, len(probabilities)), len(probabilities)):
        values, ids = probabilities.topk(width)
        sums = values.double().cumsum(0)
        if sums[-1] >= top_p:
            break
    # The nucleus is the shortest such list, so it includes the token that reaches the bound, and is never empty.
    last = min(int(torch.searchsorted(sums, top_p)), width - 1)
    return int(ids[min(int(torch.searchsorted(sums[: last + 1], noise * sums[last], right=True)), last)])
