"""Can the shared base be ternary?

Hypothesis: rounding the weights of the base's blocks to -1, 0 or 1 times a scale, after training and without data,
leaves a usable model.

The criteria are ours. 1.5 and 2 are what the documents call useful but degraded, and barely useful, for a compressed
adapter (Bet 53); a compressed base deserves the same. Ten times the perplexity is where the base has lost more than
adapters give back by an order of magnitude, and a smaller model in full precision is the better base. Sizes are those
of files written here, judged by nobody: a file of a broken model is small, too.

Not blind: while the packing was built, and before these criteria were committed, a trial on a few windows of one
user's text had already shown ternary weights without data to collapse this base. The criteria were not chosen by it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from experiments.catalogue.bet import Bet, Decision
from experiments.catalogue.context import Context
from experiments.catalogue.figures import AgainstBase
from experiments.catalogue.readings import Readings
from experiments.catalogue.running import main
from experiments.catalogue.verdict import Criterion, Measured, undercut

GENERAL = "general"
RATIOS, GENERAL_RATIO = ("ppl_ratio/{user}",), "ppl_ratio/general"


def worst_ratio(m: Measured) -> float:
    """Ternary over full precision, the largest of all texts."""
    return undercut([*m.each("ppl_ratio/{user}"), m["ppl_ratio/general"]], 1)


def ratio_of_two_thirds(m: Measured) -> float:
    """Ternary over full precision that two of three users' texts stay within."""
    return undercut(m.each("ppl_ratio/{user}"), 2 / 3)


def general_ratio(m: Measured) -> float:
    """Ternary over full precision on general text."""
    return m["ppl_ratio/general"]


CRITERIA = (
    Criterion("strict", "within 1.5x of the base on every text", (*RATIOS, GENERAL_RATIO), worst_ratio, "<=", 1.5),
    Criterion("lenient", "within 2x of the base for two of three users", RATIOS, ratio_of_two_thirds, "<=", 2.0),
    Criterion("catastrophic", "over 10x the base on general text", (GENERAL_RATIO,), general_ratio, ">", 10.0),
)


def run(context: Context) -> Readings:
    """The base and its ternary copy on every user's text and on general text, and their files' sizes."""
    from sharedllm.base.ternary import save_ternary, ternary_copy

    readings = Readings(context.users)
    ternary = ternary_copy(context.base)
    for text in (*context.users, GENERAL):
        readings.add(text, "base", context.read_plain(text, context.base))
        readings.add(text, "ternary", context.read_plain(text, ternary))
    with tempfile.TemporaryDirectory() as scratch:
        readings.facts["bytes/ternary"] = save_ternary(context.base, Path(scratch) / "ternary")
        context.base.model.save_pretrained(Path(scratch) / "plain")
        readings.facts["bytes/as_it_runs"] = sum(
            file.stat().st_size for file in Path(scratch).glob("plain/*.safetensors")
        )
    readings.notes["dtype"] = str(context.base.dtype)
    return readings


def measure(readings: Readings) -> Mapping[str, float]:
    """Perplexities, their ratios, and sizes."""
    found = dict(readings.facts)
    found["size_ratio"] = found["bytes/ternary"] / found["bytes/as_it_runs"]
    for text in (*readings.users, GENERAL):
        base, ternary = readings.perplexity(text, "base"), readings.perplexity(text, "ternary")
        found |= {f"ppl/{text}/base": base, f"ppl/{text}/ternary": ternary, f"ppl_ratio/{text}": ternary / base}
    return found


BET = Bet(
    name="13_ternary_base",
    claim="a ternary (1.58-bit) base stays usable",
    criteria=CRITERIA,
    run=run,
    measure=measure,
    decision=Decision(
        met="the base may be stored in ternary form",
        unmet="the base stays in full precision",
    ),
    figures=(AgainstBase(),),
    # Nothing is trained, so the protocols cannot differ.
    protocols=("documented",),
)

if __name__ == "__main__":
    main(BET)
