"""Logits as requests want them changed before a token is drawn: biases, and less for what was said already."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sharedllm.serving.request import Sampling

if TYPE_CHECKING:
    import torch


class Said:
    """The distinct tokens of a prompt and its answer so far, and how often the answer has each."""

    def __init__(self, prompt: Sequence[int], new: int) -> None:
        """Nothing is answered yet.

        Args:
            prompt: token ids.
            new: at most this many are added.
        """
        distinct = list(dict.fromkeys(prompt))
        self._place = {id: place for place, id in enumerate(distinct)}
        self._ids = np.zeros(len(distinct) + new, np.int64)
        self._ids[: len(distinct)] = distinct
        self._counts = np.zeros(len(self._ids), np.float32)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Each token once."""
        return self._ids[: len(self._place)]

    @property
    def counts(self) -> npt.NDArray[np.float32]:
        """How often the answer has it; 0 of what the prompt alone has."""
        return self._counts[: len(self._place)]

    def add(self, id: int) -> None:
        """Take note of a token of the answer."""
        place = self._place.setdefault(id, len(self._place))
        self._ids[place] = id
        self._counts[place] += 1


def adjust(logits: "torch.Tensor", samplings: Sequence[Sampling], said: Sequence[Said | None]) -> None:
    """Add biases and take penalties off, in place; of everybody at once, and nothing of one row depends on another.

    Biases are added first. What prompt or answer has said is then less likely by the repetition penalty r: a positive
    logit is divided by r and any other multiplied by it (Keskar et al. 2019, section 4.1). From a token that the answer
    has said c times, c times the frequency penalty and once the presence penalty is taken off, as OpenAI's API
    reference has it ("mu[j] -= c[j] * alpha_frequency + float(c[j] > 0) * alpha_presence"). This is vLLM's order, too.

    Args:
        logits: float, ``[rows, vocabulary]``.
        samplings: how each row is drawn.
        said: of each row; needed where it `penalises`.
    """
    biased = [(row, each.biases) for row, each in enumerate(samplings) if each.logit_bias]
    if biased:
        rows = np.repeat([row for row, _ in biased], [len(ids) for _, (ids, _) in biased])
        ids, added = (np.concatenate(each) for each in zip(*(bias for _, bias in biased), strict=True))
        _change(logits, rows, ids, lambda there: there + there.new_tensor(added))
    # Together with its own history: rows that penalise nothing have none.
    penalised = [
        (row, each, own) for row, (each, own) in enumerate(zip(samplings, said, strict=True)) if own is not None
    ]
    if not penalised:
        return
    sizes = [len(own.ids) for _, _, own in penalised]
    counts = np.concatenate([own.counts for _, _, own in penalised])
    repetition, frequency, presence = (
        np.repeat(np.array([getattr(each, name) for _, each, _ in penalised], np.float32), sizes)
        for name in ("repetition_penalty", "frequency_penalty", "presence_penalty")
    )
    taken_off = counts * frequency + (counts > 0) * presence

    def less(there: "torch.Tensor") -> "torch.Tensor":
        factor = there.new_tensor(repetition)
        return (there / factor).where(there > 0, there * factor) - there.new_tensor(taken_off)

    rows = np.repeat([row for row, _, _ in penalised], sizes)
    _change(logits, rows, np.concatenate([own.ids for _, _, own in penalised]), less)


def _change(
    logits: "torch.Tensor",
    rows: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    change: "Callable[[torch.Tensor], torch.Tensor]",
) -> None:
    """Replace the logits of these tokens, each named once."""
    import torch

    at = torch.from_numpy(rows).to(logits.device), torch.from_numpy(ids).to(logits.device)
    logits[at] = change(logits[at])
