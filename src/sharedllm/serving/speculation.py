"""What may come next in one sequence, by what it has said before: tokens to be read in the same pass as its last.

Whoever asks for a text with a change, goes on with code, or keeps to their own phrases is answered in words that are
there already (Yang et al. 2023, "Inference with Reference"; Saxena 2023, "Prompt Lookup Decoding"). A pass that reads a
few tokens takes hardly longer than one that reads a single one.

Nothing but time depends on what is proposed. Speculative sampling keeps a token x that a draft has proposed with
probability ``min(1, p(x) / q(x))``, and else draws from what ``p`` has more than ``q`` (Leviathan et al. 2023, section
2.3; Chen et al. 2023, algorithm 2). Where the draft is certain, ``q(x) = 1``, both together are to draw from ``p`` and
to keep x if it is drawn: each token is drawn as ever, with its own noise, after all before it, and what was proposed
after the first that turns out otherwise is never looked at.
"""

from collections.abc import Sequence

_LENGTH = 2
"""Tokens that have to be the same before something is proposed: chosen by `benchmarks.speculation`."""
_WEIGHT, _BEGINNING = 1 / 8, 1 / 4
"""Of the last proposal in the mean of how many tokens were accepted, and what that is before the first."""
_WORTH = 0.1
"""As many accepted tokens are worth a proposal, which makes a pass take 3 to 6 % longer."""
_PAUSE = 32
"""As often nothing is proposed where that is less, before it is tried again."""


class Proposals:
    """Of one sequence, from its own prompt and answer alone."""

    def __init__(self) -> None:
        """Nothing was proposed yet."""
        # From so many tokens to the place after where they were last, and how far this is known.
        self._after: dict[tuple[int, ...], int] = {}
        self._known = _LENGTH
        self._accepted, self._paused = _BEGINNING, 0

    def propose(self, ids: Sequence[int], most: int) -> tuple[int, ...]:
        """What followed where the last tokens were before; nothing if they are new, or if it was mostly wrong lately.

        Args:
            ids: every token of the sequence, those of the last call among them.
            most: tokens at most.
        """
        for place in range(self._known, len(ids)):
            self._after[tuple(ids[place - _LENGTH : place])] = place
        self._known = max(self._known, len(ids))
        after = self._after.get(tuple(ids[-_LENGTH:]))
        if after is None or most < 1:
            return ()
        if self._accepted < _WORTH and self._paused < _PAUSE:
            self._paused += 1
            return ()
        self._paused = 0
        self._accepted *= 1 - _WEIGHT
        # Where it comes to its end it goes on with what is proposed: what repeats itself does so again.
        found = list(ids[after : after + most])
        period = len(found)
        while len(found) < most:
            found.append(found[-period])
        return tuple(found)

    def accept(self) -> None:
        """One more of the last was drawn."""
        self._accepted += _WEIGHT
