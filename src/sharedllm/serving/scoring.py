"""How likely given tokens are: read in the same passes as everybody's prompts and answers, a piece at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharedllm.serving.request import Scored
from sharedllm.serving.sampling import scored

if TYPE_CHECKING:
    import torch

_TOKENS_AT_ONCE = 256


class Reading:
    """Tokens on their way through the model under one row, and what became of those read so far.

    Attributes:
        ids: the tokens.
        first: the place of the first one that is scored, at least 1.
        scores: one `Scored` for each token from there on, as far as they are read.
    """

    def __init__(self, ids: Sequence[int], *, first: int = 1, top: int = 0) -> None:
        """Nothing is read yet.

        Args:
            ids: the tokens, at least one.
            first: see above.
            top: how many of the likeliest tokens are told at every place.
        """
        self.ids, self.first, self._top = ids, first, top
        self.scores: list[Scored] = []

    @property
    def places(self) -> range:
        """The tokens whose logits are wanted: each says how likely the one after it is."""
        return range(self.first - 1, len(self.ids) - 1)

    def take(self, begin: int, logits: "torch.Tensor") -> None:
        """Score what a pass has read.

        Args:
            begin: the place of the first of the logits.
            logits: float, ``[tokens, vocabulary]``.
        """
        import torch

        # In float32 the logits of a long piece do not fit memory all at once.
        for start in range(0, len(logits), _TOKENS_AT_ONCE):
            piece = logits[start : start + _TOKENS_AT_ONCE]
            given = self.ids[begin + start + 1 : begin + start + 1 + len(piece)]
            wide = piece.to(torch.promote_types(piece.dtype, torch.float32))
            self.scores += scored(wide, given, [self._top] * len(given))
