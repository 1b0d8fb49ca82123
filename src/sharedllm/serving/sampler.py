"""Logits to tokens, each request on its own: nothing drawn here depends on who else is in the batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedllm.errors import RequestFailed
from sharedllm.serving.grammar import restrict
from sharedllm.serving.noise import keys_of, noisiest
from sharedllm.serving.penalties import adjust
from sharedllm.serving.request import Sampling, Scored

if TYPE_CHECKING:
    import torch

    from sharedllm.serving.runner import Logits
    from sharedllm.serving.sequence import Chunk, Plan

_LIKELIEST = 256
"""As many tokens are sorted first; a ``top_p`` that they do not add up to sorts the whole vocabulary."""

_SCORED_AT_ONCE = 256
"""In float32 the logits of a long chunk do not fit memory all at once."""

_COLDEST, _HOTTEST = 1e-30, 1e30
"""Temperatures beyond which the likeliest token is drawn, or any; single precision still holds them."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """What came of a pass; by the number of a chunk in its plan.

    Attributes:
        plan: of the pass.
        drawn: the new token of each chunk that draws.
        scores: of the tokens after a chunk's wanted places that are known.
        failed: why nothing came of a chunk.
    """

    plan: "Plan"
    drawn: dict[int, Scored]
    scores: dict[int, list[Scored]]
    failed: dict[int, Exception]


def sample(logits: "Logits") -> Sampled:
    """Draw a token for every chunk that draws, and score what is known; nothing is drawn for what fails."""
    import torch

    chunks = logits.plan.chunks
    sampled = Sampled(logits.plan, {}, {}, dict(logits.failed))
    drawing, rows, row = [], [], 0
    with torch.inference_mode():
        for number, chunk in enumerate(chunks):
            if number in logits.failed:
                continue
            known = chunk.scores
            if known:
                try:
                    sampled.scores[number] = _score_known(chunk, logits.rows[row : row + known])
                except Exception as error:
                    sampled.failed[number] = error
            if chunk.draws and number not in sampled.failed and _may_go_on(chunk, number, sampled):
                drawing.append(number)
                rows.append(row + known)
            row += len(chunk.wanted)
        # Mostly they are all of the logits, which are then not to be copied.
        _draw_all(drawing, logits.rows if len(rows) == row else logits.rows[rows], sampled)
    return sampled


def _may_go_on(chunk: "Chunk", number: int, sampled: Sampled) -> bool:
    """Whether there is a token that may come next, which is known after that."""
    if chunk.sequence.constraint is not None:
        try:
            chunk.sequence.constraint.look()
        except Exception as error:
            sampled.failed[number] = error
            return False
    return True


def _score_known(chunk: "Chunk", logits: "torch.Tensor") -> list[Scored]:
    scores = []
    for start in range(0, len(logits), _SCORED_AT_ONCE):
        piece = _wide(logits[start : start + _SCORED_AT_ONCE])
        first = chunk.wanted.start + 1 + start
        known = chunk.sequence.ids[first : first + len(piece)]
        scores += scored(piece, known, [chunk.sequence.tops] * len(known))
    return scores


def _draw_all(drawing: Sequence[int], logits: "torch.Tensor", sampled: Sampled) -> None:
    """Draw for these chunks, all at once; if that fails, for each alone."""
    if not drawing:
        return
    try:
        tokens = _draw_scored([sampled.plan.chunks[number] for number in drawing], logits)
        sampled.drawn.update(zip(drawing, tokens, strict=True))
    except Exception as error:
        if len(drawing) == 1:
            sampled.failed[drawing[0]] = error
            return
        for row, number in enumerate(drawing):
            _draw_all([number], logits[row : row + 1], sampled)


def _draw_scored(chunks: "Sequence[Chunk]", logits: "torch.Tensor") -> list[Scored]:
    requests = [chunk.sequence.request for chunk in chunks]
    samplings = [each.sampling for each in requests]
    drawn_from = _wide(logits)
    adjusts = any(each.adjusts for each in samplings)
    constraints = [chunk.sequence.constraint for chunk in chunks]
    holds = any(each is not None for each in constraints)
    if (adjusts or holds) and drawn_from is logits:
        # What a pass has computed is left as it is: scores are of that, and what fails here is drawn from again.
        drawn_from = drawn_from.clone()
    if adjusts:
        adjust(drawn_from, samplings, [chunk.sequence.said for chunk in chunks])
    if holds:
        restrict(drawn_from, constraints)
    tokens = draw(drawn_from, samplings, [len(chunk.sequence.new) for chunk in chunks])
    # To normalise everybody's logits takes a while, and few ask for it.
    tops = {row: top for row, each in enumerate(requests) if (top := each.top_logprobs) is not None}
    if not tops:
        return [Scored(token, None) for token in tokens]
    told = iter(scored(_wide(logits[list(tops)]), [tokens[row] for row in tops], list(tops.values())))
    return [next(told) if row in tops else Scored(token, None) for row, token in enumerate(tokens)]


def _wide(logits: "torch.Tensor") -> "torch.Tensor":
    import torch

    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature > _COLDEST]
    if warm:
        settings = [samplings[row] for row in warm]
        # Mostly it is everybody.
        own = logits if len(warm) == len(logits) else logits[warm]
        scores = _restricted(_scores(own, settings), settings)
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
    import torch

    # numpy's is ten times as fast as torch's where both can be had.
    found = torch.from_numpy(logits.numpy().argmax(-1)) if logits.device.type == "cpu" else logits.argmax(dim=-1)
    # Whatever is no number counts as the largest.
    peaks = logits.gather(1, found[:, None])[:, 0]
    tokens: list[int] = torch.where(peaks.isfinite(), found, -1).tolist()
    if min(tokens) < 0:
        raise overflown()
    return tokens


def _scores(logits: "torch.Tensor", samplings: Sequence[Sampling]) -> "torch.Tensor":
    """Logits divided by the temperatures; the largest is zero."""
    temperatures = logits.new_tensor([min(each.temperature, _HOTTEST) for each in samplings])
    # Less the largest first: a tiny temperature would overflow what it divides.
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperatures[:, None]


def _restricted(scores: "torch.Tensor", samplings: Sequence[Sampling]) -> "torch.Tensor":
    """Minus infinity for tokens that are not to be drawn. Every bound is of the whole distribution."""
    import torch

    allowed = scores
    if any(each.min_p for each in samplings):
        floors = scores.new_tensor([each.min_p for each in samplings]).log()
        allowed = scores.masked_fill(scores < floors[:, None], -torch.inf)
    few = [row for row, each in enumerate(samplings) if 0 < each.top_k < scores.shape[-1]]
    if few:
        widths = [samplings[row].top_k for row in few]
        likeliest = scores[few].topk(max(widths), dim=-1).values
        last = likeliest.gather(1, torch.tensor(widths, device=scores.device)[:, None] - 1)
        floors = torch.full_like(scores[:, :1], -torch.inf)
        floors[few] = last
        allowed = allowed.masked_fill(scores < floors, -torch.inf)
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
