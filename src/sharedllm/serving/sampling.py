"""Logits to tokens, each request on its own: nothing drawn here depends on who else is in the batch."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharedllm.errors import RequestFailed
from sharedllm.serving.noise import keys_of, noisiest
from sharedllm.serving.request import Sampling, Scored

if TYPE_CHECKING:
    import torch

_LIKELIEST = 256
"""As many tokens are sorted first; a ``top_p`` that they do not add up to sorts the whole vocabulary."""

_COLDEST, _HOTTEST = 1e-30, 1e30
"""Temperatures beyond which the likeliest token is drawn, or any; single precision still holds them."""


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
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature > _COLDEST]
    if warm:
        settings = [samplings[row] for row in warm]
        scores = _restricted(_scores(logits[warm], settings), settings)
        drawn = noisiest(scores, keys_of(settings, [positions[row] for row in warm]))
        for row, token in zip(warm, drawn, strict=True):
            tokens[row] = token
    return tokens


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


def _scores(logits: "torch.Tensor", samplings: Sequence[Sampling]) -> "torch.Tensor":
    """Logits divided by the temperatures; the largest is zero."""
    temperatures = logits.new_tensor([min(each.temperature, _HOTTEST) for each in samplings])
    # Less the largest first: a tiny temperature would overflow what it divides.
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperatures[:, None]


def _restricted(scores: "torch.Tensor", samplings: Sequence[Sampling]) -> "torch.Tensor":
    """Minus infinity for tokens that are not to be drawn. Both bounds are of the whole distribution."""
    import torch

    allowed = scores
    if any(each.min_p for each in samplings):
        floors = scores.new_tensor([each.min_p for each in samplings]).log()
        allowed = scores.masked_fill(scores < floors[:, None], -torch.inf)
    for row, each in enumerate(samplings):
        if each.top_p < 1:
            ids = _nucleus(scores[row].softmax(dim=-1), each.top_p)
            nucleus = torch.full_like(scores[row], -torch.inf)
            nucleus[ids] = allowed[row][ids]
            allowed = allowed.clone() if allowed is scores else allowed
            allowed[row] = nucleus
    return allowed


def _nucleus(probabilities: "torch.Tensor", top_p: float) -> "torch.Tensor":
    """The ids of the shortest list of likeliest tokens whose probabilities add up to the bound."""
    import torch

    for width in (min(_LIKELIEST, len(probabilities)), len(probabilities)):
        values, ids = probabilities.topk(width)
        sums = values.double().cumsum(0)
        if sums[-1] >= top_p:
            break
    # It includes the token that reaches the bound, and so is never empty.
    return ids[: int(torch.searchsorted(sums, top_p)) + 1]
