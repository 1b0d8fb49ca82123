"""One user's adapter in int8, if measurement says that it survives: decided per user, never for everybody.

That int8 is opt-in, and the bounds, are decided by Bet 53; see docs/bets/53.md.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sharedllm.errors import InvalidInput
from sharedllm.operations.authors import tokenized_blocks
from sharedllm.operations.grow import check_still_answers
from sharedllm.operations.release_text import read_again, window_of
from sharedllm.operations.workplace import Workplace
from sharedllm.text.sources import Wrote

if TYPE_CHECKING:
    from sharedllm.adapters.adapter import GateOutcome
    from sharedllm.adapters.injection import Injection
    from sharedllm.compression.int8 import Int8
    from sharedllm.evaluation.perplexity import Losses
    from sharedllm.store.contract import Release, Stay, Store
    from sharedllm.text.splits import Split

WORST_RATIO = 1.5
"""The largest int8 perplexity that is kept, as a multiple of the raw adapter's (Bet 53)."""


@dataclass(frozen=True)
class CompressionDecision:
    """Which form of an adapter to keep.

    Attributes:
        kept: ``"int8"`` only if both conditions of `decide` hold.
        reason: one sentence for the operator, in either case.
    """

    kept: Literal["int8", "raw"]
    reason: str


def decide(none: float, raw: float, int8: float) -> CompressionDecision:
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
            return CompressionDecision("raw", f"raw stays: the perplexity of {name} is not a finite number")
    ratio = int8 / raw
    if int8 > WORST_RATIO * raw:
        return CompressionDecision(
            "raw", f"raw stays: int8 has {ratio:.2f} times the raw adapter's perplexity, more than {WORST_RATIO}"
        )
    if int8 >= none:
        return CompressionDecision(
            "raw", f"raw stays: int8 is no better than no adapter ({int8:.4g} against {none:.4g})"
        )
    return CompressionDecision(
        "int8",
        f"int8 is kept: it has {ratio:.3f} times the raw adapter's perplexity, and {1 - int8 / none:.1%} less than no"
        " adapter",
    )


@dataclass(frozen=True, eq=False)
class Compression:
    """What a compression found, and what came of it.

    Attributes:
        release: the one that was served and measured.
        packed: its int8 form.
        window: tokens in the windows that were read.
        none, raw, int8: losses on the user's validation text without an adapter, with it, and with its int8 form.
        kept: ``"int8"`` only if the decision was for it and its gate passed.
        reason: one sentence for the operator.
        published: the release that int8 became, whether or not it answers; None where it was decided against.
    """

    release: "Release"
    packed: "Int8"
    window: int
    none: "Losses"
    raw: "Losses"
    int8: "Losses"
    kept: Literal["int8", "raw"]
    reason: str
    published: "Release | None"


def compress(workplace: Workplace, store: "Store", user: str, wrote: Wrote = ()) -> Compression:
    """Measure a user's adapter in int8, and store that as a new release through the gate if it survives.

    Args:
        workplace: where.
        store: where their releases are.
        user: whose.
        wrote: their text, or where it is now; empty for where the release remembers it.

    Raises:
        UnknownUser, NotServed, CorruptAdapter: no release answers for them.
        InvalidInput: it is int8 already, was imported, or trained on another text or on all of a little one; or another
            release began to answer meanwhile.
        TextError: the text cannot be found, or not be read.
        WrongBase: the release was made for another base.
        ErasedMeanwhile: the user was erased meanwhile.
        BaseError, DownloadError: see `load_base`.
    """
    from sharedllm.compression.int8 import quantise
    from sharedllm.evaluation.gate import mind_repeats

    # Asked first, since nothing is to begin for somebody who is not here.
    store.user(user)
    stay = store.begin([user])[user]
    release = store.served(user)
    if "compression" in release.adapter.provenance:
        raise InvalidInput(
            f"Release {release.number} of {user!r} is int8 already",
            remedy="There is nothing to do, unless you roll the user back to a release that is not.",
        )
    split = read_again(release, wrote)
    injection = workplace.injection_of(release.adapter)
    packed, window = quantise(release.adapter.values, injection.layout.widths), window_of(release)
    none, raw, int8 = _measure(workplace, injection, release, packed, split)
    decision, published = decide(none.perplexity, raw.perplexity, int8.perplexity), None
    kept, reason = decision.kept, decision.reason
    if kept == "int8":
        verdict = mind_repeats(_judge(workplace, injection, packed, window, [none, int8]), split.repeats)
        published = _publish(store, stay, release, packed, verdict)
        if not published.gate.passed:
            kept = "raw"
            reason = f"raw stays: the gate holds int8 back, though {reason.removeprefix('int8 is kept: ')}"
    return Compression(release, packed, window, none, raw, int8, kept, reason, published)


def _measure(
    workplace: Workplace, injection: "Injection", release: "Release", packed: "Int8", split: "Split"
) -> "list[Losses]":
    """No adapter, raw and int8 on the validation windows that the gate reads."""
    import numpy as np

    from sharedllm.evaluation.gate import MAX_WINDOWS
    from sharedllm.evaluation.perplexity import row_losses, spread

    raw = release.adapter.values
    table = np.stack([np.zeros_like(raw), raw, packed.dequantised()])
    blocks = tokenized_blocks(workplace.base.tokens, release.user, split, window_of(release))
    windows = spread(blocks.validation, MAX_WINDOWS)
    with workplace.bar("measuring", len(table) * len(windows)) as advance:
        return row_losses(workplace.base, injection, table, windows, on_batch=advance)


def _judge(
    workplace: Workplace, injection: "Injection", packed: "Int8", window: int, own: "list[Losses]"
) -> "GateOutcome":
    import numpy as np

    from sharedllm.evaluation.gate import MAX_WINDOWS, Gate
    from sharedllm.evaluation.perplexity import row_losses, spread

    values = packed.dequantised()
    table = np.stack([np.zeros_like(values), values])
    general = spread(workplace.general("validation", window), MAX_WINDOWS)
    with workplace.bar("judging", len(table) * len(general)) as advance:
        return Gate().decide(own, row_losses(workplace.base, injection, table, general, on_batch=advance))


def _publish(store: "Store", stay: "Stay", release: "Release", packed: "Int8", verdict: "GateOutcome") -> "Release":
    """Store the values that int8 stands for, with the scales that lead back to its integers.

    Raises:
        InvalidInput, ErasedMeanwhile: somebody changed which release answers in the meantime; theirs must not be
            replaced by this one.
    """
    check_still_answers(store, release)
    compression = {"method": "int8", "of": release.number, "bytes": packed.bytes, "scales": packed.scales.tolist()}
    provenance = {**release.adapter.provenance, "compression": compression}
    adapter = replace(release.adapter, values=packed.dequantised(), provenance=provenance)
    return store.publish(release.user, adapter, verdict, stay)
