"""Noise of every token: a function of seed, choice, position and the token's id, and of nothing else.

A token is drawn as the one whose score plus Gumbel noise is the largest (Gumbel-max; Maddison et al. 2014). Scores that
were rounded otherwise, as in another batch, then draw another token only where two come nearly to a tie; by one number
that picks a place in the sum of all probabilities, the rounding of every token before that place moves it.

Gumbel noise is minus the logarithm of an exponential variable. For a whole vocabulary of which hardly any token can
win it would take longer than all else, so it is made in blocks: first the least variable of each, which is exponential
at as many times the rate and is any token's alike, and the others, which are that much and another variable more, only
in blocks that can win with it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sharedllm.serving.request import Sampling

if TYPE_CHECKING:
    import torch

_BLOCK = 64
_POSITIONS = 64
_WORDS_EACH = 4
"""What Philox makes for every place that its counter is at."""
_BITS = 31
_LARGEST = 1 - 2.0**-24
"""Below one in every precision, so that no variable is infinite."""


def keys_of(samplings: Sequence[Sampling], positions: Sequence[int]) -> "torch.Tensor":
    """What the noise of each row is made from, int32 ``[rows, 2]`` (Philox; Salmon et al. 2011)."""
    import torch

    words = [
        _words(each.seed % 2**64, each.choice, position // _POSITIONS)[position % _POSITIONS]
        for each, position in zip(samplings, positions, strict=True)
    ]
    return torch.from_numpy(np.array(words, np.uint64).view(np.int32).reshape(-1, 2))


@lru_cache(maxsize=1024)
def _words(seed: int, choice: int, stretch: int) -> list[int]:
    """A word for each of the positions of a stretch. To make a generator takes longer than they do."""
    generator = np.random.Philox(key=np.array([seed, choice], np.uint64), counter=stretch * _POSITIONS)
    words: list[int] = generator.random_raw(_POSITIONS * _WORDS_EACH)[::_WORDS_EACH].tolist()
    return words


def noisiest(scores: "torch.Tensor", keys: "torch.Tensor") -> list[int]:
    """The token of each row whose score plus noise is the largest.

    Args:
        scores: float, ``[rows, vocabulary]``, of which each row has one that is finite; what is minus infinity is never
            drawn.
        keys: see `keys_of`.
    """
    import torch
    from torch.nn.functional import pad

    rows, size = scores.shape
    keys = keys.to(scores.device)
    blocks = pad(scores, (0, -size % _BLOCK), value=-torch.inf).view(rows, -1, _BLOCK)
    every = torch.arange(blocks.shape[1], dtype=torch.int32, device=scores.device).expand(rows, -1)
    least, whose = _least(keys[:, None], every, scores.dtype)
    noise = -least.log()
    peaks = blocks.amax(-1)
    # What the token with the least variable of a block comes to, and all tokens of the block with the likeliest one.
    row = torch.arange(rows, device=scores.device)
    likeliest = peaks.argmax(-1)
    reached = torch.maximum(
        (blocks.gather(-1, whose[..., None])[..., 0] + noise).amax(-1),
        (blocks[row, likeliest] - variables(keys, likeliest.int(), scores.dtype).log()).amax(-1),
    )
    row, block = (peaks + noise >= reached[:, None]).nonzero(as_tuple=True)
    values, inside = (blocks[row, block] - variables(keys[row], block.int(), scores.dtype).log()).max(-1)
    best = values.new_full((rows,), -torch.inf).scatter_reduce(0, row, values, "amax")
    tokens = torch.where(values == best[row], block * _BLOCK + inside, size)
    drawn: list[int] = tokens.new_full((rows,), size).scatter_reduce(0, row, tokens, "amin").tolist()
    return drawn


def variables(keys: "torch.Tensor", block: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    """The exponential variables of all tokens of a block.

    Args:
        keys: int32 ``[n, 2]``.
        block: int32 ``[n]``: the tokens are those from 64 times as much on.
        dtype: of the variables.

    Returns:
        ``[n, 64]``.
    """
    import torch

    inside = torch.arange(_BLOCK, dtype=torch.int32, device=keys.device)
    more = _exponential(_hashed(keys[:, None, 0], keys[:, None, 1], block[:, None] * _BLOCK + inside), dtype)
    least, whose = _least(keys, block, dtype)
    return least[:, None] + more.masked_fill(inside == whose[:, None], 0.0)


def _least(keys: "torch.Tensor", block: "torch.Tensor", dtype: "torch.dtype") -> tuple["torch.Tensor", "torch.Tensor"]:
    """The least variable of each block, and the place of its token."""
    first, second = keys[..., 0], keys[..., 1]
    # Tokens count from zero upwards.
    least = _exponential(_hashed(first, second, -1 - block), dtype) / _BLOCK
    return least, (_hashed(second, first, -1 - block) & (_BLOCK - 1)).long()


def _exponential(hashed: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
    uniform = ((hashed & (2**_BITS - 1)).to(dtype) + 0.5) * 2.0**-_BITS
    variable: torch.Tensor = -(-uniform.clamp(max=_LARGEST)).log1p()
    return variable


def _hashed(first: "torch.Tensor", second: "torch.Tensor", counter: "torch.Tensor") -> "torch.Tensor":
    return _mixed(_mixed(counter ^ first) ^ second)


def _mixed(word: "torch.Tensor") -> "torch.Tensor":
    """A permutation of the words of 32 bits in which every bit changes half of the others (Wellons' lowbias32)."""
    # Shifts repeat the sign, which is masked off.
    word = (word ^ ((word >> 16) & 0xFFFF)) * 0x7FEB352D
    word = (word ^ ((word >> 15) & 0x1FFFF)) * (0x846CA68B - 2**32)
    return word ^ ((word >> 16) & 0xFFFF)
