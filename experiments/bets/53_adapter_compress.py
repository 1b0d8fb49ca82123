"""Does an adapter survive int8?

Hypothesis: per-tensor symmetric int8 keeps a user's perplexity within 1.5 times the raw adapter's.

The criteria are the documents' (Bet 53). Their headline is "borderline, LENIENT"; by the criteria their numbers are
LENIENT and CATASTROPHIC at once, for int8 is worse than no adapter for two of three users. The criteria win, and this
is why the flags are independent. They took own-adapter numbers for the baseline without an adapter; here both are
measured.

Judged is int8 of the deviations, which is what is stored and what ``sharedllm compress`` does. The documents quantise
full gains, whose scale follows the largest gain instead of the user's own signal: measured beside it as
``int8_gains``.
"""

from collections.abc import Mapping

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase, Bars, Multiple, Multiples
from experiments.catalogue.readings import Readings, flag
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, share, undercut

CONDITIONS = ("none", "raw", "int8", "int8_gains")
RATIO = ("ppl/{user}/raw", "ppl/{user}/int8")


def worst_ratio(m: Measured) -> float:
    """The largest int8 / raw over all users."""
    return undercut((m[f"ppl/{user}/int8"] / m[f"ppl/{user}/raw"] for user in m.users), 1)


def ratio_of_two_thirds(m: Measured) -> float:
    """The int8 / raw that two of three users stay within."""
    return undercut((m[f"ppl/{user}/int8"] / m[f"ppl/{user}/raw"] for user in m.users), 2 / 3)


def harmed(m: Measured) -> float:
    """Share of users for whom int8 is worse than no adapter."""
    return share(m.each("int8_worse_than_none/{user}"))


CRITERIA = (
    Criterion("strict", "int8 within 1.5x of raw for all users", RATIO, worst_ratio, "<=", 1.5),
    Criterion("lenient", "int8 within 2x of raw for two of three users", RATIO, ratio_of_two_thirds, "<=", 2.0),
    Criterion(
        "catastrophic",
        "int8 worse than no adapter for two of three users",
        ("int8_worse_than_none/{user}",),
        harmed,
        ">=",
        2 / 3,
    ),
)


def run(context: Context) -> Readings:
    """Each user's text with nothing, the adapter, and its two int8 forms."""
    from sharedllm.base.sites import site_gains
    from sharedllm.compression.int8 import quantise, through_gains

    readings = Readings(context.users)
    layout = context.layout()
    gains = site_gains(context.base.model, layout.sites).cpu().numpy()
    for user, raw in context.adapters().items():
        packed = quantise(raw, layout.widths)
        forms = (context.zeros(), raw, packed.dequantised(), through_gains(raw, gains, layout.widths))
        rows = dict(zip(("base", *CONDITIONS[1:]), forms, strict=True))
        for reader, losses in context.read(user, rows).items():
            readings.add(user, reader, losses)
        readings.facts |= {"bytes/int8": packed.bytes, "bytes/raw": 2 * len(raw)}
        readings.notes[f"scales/{user}"] = [float(scale) for scale in packed.scales]
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities by user and condition, whether int8 is worse than nothing, and sizes."""
    found = dict(readings.facts)
    for user in readings.users:
        for condition in CONDITIONS:
            found[f"ppl/{user}/{condition}"] = readings.perplexity(user, "base" if condition == "none" else condition)
        for form in ("int8", "int8_gains"):
            with_int8, without = found[f"ppl/{user}/{form}"], found[f"ppl/{user}/none"]
            found[f"{form}_worse_than_none/{user}"] = flag(with_int8 > without, with_int8, without)
            found[f"{form}_over_raw/{user}"] = found[f"ppl/{user}/{form}"] / found[f"ppl/{user}/raw"]
    return found


BET = Bet(
    name="53_adapter_compress",
    claim="int8 of the adapter keeps its benefit",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="int8 may be the default, still measured user by user",
        unmet="int8 stays opt-in: for each user it is measured first",
    ),
    figures=(
        Bars(
            "Perplexity without an adapter, with it, and with its int8 forms",
            "Lower is better. Intervals here say how much texts vary from window to window; the paired ones, which"
            " compare forms on the same windows, are below.",
            "ppl/{user}/{form}",
            (("none", "none"), ("raw", "raw"), ("int8", "int8"), ("int8_gains", "int8 of gains")),
            "perplexity",
        ),
        AgainstBase(),
        Multiples(
            "Against the documents",
            "the other's",
            (Multiple("{user}: int8 over raw", "{user}", "int8", "raw", ("ppl/{user}/int8", "ppl/{user}/raw")),),
        ),
    ),
)

if __name__ == "__main__":
    main(BET)
