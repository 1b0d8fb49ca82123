"""Whether one user's adapter may be int8: decided per user, by measurement, never for everybody.

That int8 is opt-in, and the bounds, are decided by Bet 53; see docs/bets/53.md.
"""

import math
from dataclasses import dataclass
from typing import Literal

WORST_RATIO = 1.5
"""The largest int8 perplexity that is kept, as a multiple of the raw adapter's (Bet 53)."""


@dataclass(frozen=True)
class Decision:
    """Which form of an adapter to keep.

    Attributes:
        kept: ``"int8"`` only if both conditions of `decide` hold.
        reason: one sentence for the operator, in either case.
    """

    kept: Literal["int8", "raw"]
    reason: str


def decide(none: float, raw: float, int8: float) -> Decision:
    """Keep int8 only if it stays within `WORST_RATIO` of the raw adapter and is better than no adapter.

    The second condition is the one that protects: an adapter that barely helps can lose all of its help well within the
    ratio. Whatever is in doubt stays raw.

    Args:
        none: perplexity of the base without an adapter, on text the adapter was not trained on.
        raw: perplexity with the adapter as it is, on the same text.
        int8: perplexity with the adapter quantised, on the same text.
    """
    for name, perplexity in (("no adapter", none), ("the raw adapter", raw), ("the int8 adapter", int8)):
        if not math.isfinite(perplexity):
            return Decision("raw", f"raw stays: the perplexity of {name} is not a finite number")
    ratio = int8 / raw
    if int8 > WORST_RATIO * raw:
        return Decision(
            "raw", f"raw stays: int8 has {ratio:.2f} times the raw adapter's perplexity, more than {WORST_RATIO}"
        )
    if int8 >= none:
        return Decision("raw", f"raw stays: int8 is no better than no adapter ({int8:.4g} against {none:.4g})")
    return Decision(
        "int8",
        f"int8 is kept: it has {ratio:.3f} times the raw adapter's perplexity, and {1 - int8 / none:.1%} less than no"
        " adapter",
    )
