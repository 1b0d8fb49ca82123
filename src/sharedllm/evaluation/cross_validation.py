"""What cross-validation measured of a little text: losses of every block under rows that have not read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.evaluation.perplexity import Losses, TokenCounts, plain_counts


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Every block's windows, read as if nothing had been learnt and by what was learnt of the others, step by step.

    A *candidate* is what training could end with: so many steps, and the row that they make scaled towards what it
    began from. The first is to learn nothing, and among equals the earlier counts, so that doubt learns less.

    Attributes:
        candidates: steps and scale of each; the first is ``(0, 0.0)``.
        nats: float64 ``[candidates, windows]``, summed over each window's predicted tokens.
        tokens: predicted in each window, int64 ``[windows]``, or one number where all have as many.
        blocks: int64 ``[windows]``, of which block each window is.
        characters: of the whole text.
        base: float64 ``[windows]``, nats of the base, where training began from something else; None where at the base.
    """

    candidates: Sequence[tuple[int, float]]
    nats: npt.NDArray[np.float64]
    tokens: TokenCounts
    blocks: npt.NDArray[np.int64]
    characters: int
    base: npt.NDArray[np.float64] | None = None

    @property
    def chosen(self) -> tuple[int, float]:
        """Steps and scale of the candidate with the lowest loss over all blocks."""
        return self.candidates[self._best(np.ones_like(self.blocks, bool))]

    def loss_at(self, step: int) -> float:
        """The lowest of a step's candidates over all blocks, in nats per token."""
        return min(
            float(nats.mean() / np.mean(self.tokens))
            for (at, _), nats in zip(self.candidates, self.nats, strict=True)
            if at == step
        )

    @property
    def smaller(self) -> list[float]:
        """At which fractions of what was chosen, rising and below 1, losses are known."""
        step, scale = self.chosen
        return sorted(other / scale for at, other in self.candidates if at == step and other < scale)

    def losses(self, fraction: float = 1.0) -> list[Losses]:
        """Of the base and of what was chosen, on every window; and of what training began from, if not at the base.

        Of each block they are those of the candidate that the *other* blocks choose, so that no block judges a choice
        that it had a part in, neither of the row nor of its steps and scale.

        Args:
            fraction: of the scale that was chosen, one of `smaller`; no block's candidate is larger then.
        """
        _, scale = self.chosen
        read = self.nats[0].copy()
        for block in np.unique(self.blocks) if scale else ():
            tested = self.blocks == block
            step, own = self.candidates[self._best(~tested)]
            if fraction < 1 and step:
                # The grid is the same at every step, up to rounding.
                limit = max(fraction * scale * (1 + 1e-6), min(each for at, each in self.candidates if at == step))
                own = min(own, max(each for at, each in self.candidates if at == step and each <= limit))
            read[tested] = self.nats[self.candidates.index((step, own)), tested]
        begun = self.nats[0]
        given = [begun, read] if self.base is None else [self.base, read, begun]
        return [Losses(nats, self.tokens) for nats in given]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: how it was done, and what was chosen."""
        step, scale = self.chosen
        return {
            "blocks": len(np.unique(self.blocks)),
            "windows": len(self.blocks),
            "tokens_per_window": plain_counts(self.tokens),
            "characters": self.characters,
            "steps": step,
            "scale": scale,
        }

    def _best(self, windows: npt.NDArray[np.bool_]) -> int:
        return int(self.nats[:, windows].sum(axis=1).argmin())
