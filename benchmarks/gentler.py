"""Whom the gate held back for general text alone, served gentler: who passes scaled down, and what they keep.

    python -m benchmarks.gentler        # two minutes a person on two cores; the same command goes on where it was ended

The people are those of `results/people.json` that were held back. Each is trained and judged by the job that `train`
does. Then their row as it was and scaled down, as it is served, read what no choice was made on: held-out text of their
own, and held-out general text. Everything is relative to the base in the same run, by window.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm.adapters.adapter import Adapter
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Windows, row_losses, spread
from sharedllm.operations.train import train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.people import people
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, tokenize
from sharedllm.training.recipes import RECIPES

RESULTS = Path(__file__).parent / "results"
RESULT = RESULTS / "gentler.json"
BASE = "smollm2-135m"
WINDOWS = 32


def main() -> None:
    judged_before = json.loads((RESULTS / "people.json").read_text())["report"]["people"]
    held_back = {each["user"]: each["gate"] for each in judged_before if not each["gate"]["passed"]}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    else:
        result = {"environment": describe(), "base": BASE, "recipe": RECIPES["adamw"].as_dict(), "people": {}}
    with tempfile.TemporaryDirectory() as folder, Workplace(BASE, folder=Path(folder)) as place:
        for person in people():
            if person.user not in held_back or person.user in result["people"]:
                continue
            text = tokenize(person.user, split_text(person.text), place.base.encode)
            (judged,) = train_and_judge(place, [text], RECIPES["adamw"])
            if judged.adapter is None or judged.gate is None:
                raise SystemExit(f"{person.user}: {judged.error}")
            result["people"][person.user] = {
                "text_bytes": len(person.text.encode()),
                "text_sha256": text.sha256,
                "gate_before": held_back[person.user]["reason"],
                "passed": judged.gate.passed,
                "scale": judged.adapter.provenance.get("scale", 1.0),
                "reason": judged.gate.reason,
                "figures": judged.gate.figures,
                "heldout": _read(place, judged.adapter, spread(text.heldout, WINDOWS)),
                "general": _read(place, judged.adapter, spread(_general(place, text), WINDOWS)),
            }
            result["summary"] = summary(result["people"])
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
            print(person.user, judged.gate.reason, flush=True)
    print(json.dumps(result["summary"], indent=1))


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """How many of them pass, and the medians of those: scale, gain on held-out text, and share of the full row's."""
    passed = [each for each in found.values() if each["passed"]]
    scaled = [each for each in passed if each["scale"] < 1]
    gains = [_gains(each["heldout"]) for each in scaled]
    costs = [_gains(each["general"]) for each in scaled]

    def median(values: list[float]) -> float | None:
        return round(float(np.median(values)), 4) if values else None

    return {
        "people": len(found),
        "passed": len(passed),
        "passed_scaled_down": len(scaled),
        "median_scale": median([each["scale"] for each in scaled]),
        "median_gain_in_full": median([full for full, _ in gains]),
        "median_gain_as_served": median([served for _, served in gains]),
        "median_share_of_the_gain_kept": median([served / full for full, served in gains]),
        "least_share_of_the_gain_kept": round(min(served / full for full, served in gains), 4) if gains else None,
        "median_general_change_in_full": median([full for full, _ in costs]),
        "median_general_change_as_served": median([served for _, served in costs]),
        "worst_general_change_as_served": round(min(served for _, served in costs), 4) if costs else None,
    }


def _gains(read: dict[str, Any]) -> tuple[float, float]:
    return read["in_full"]["improvement"]["estimate"], read["as_served"]["improvement"]["estimate"]


def _general(place: Workplace, text: TokenizedText) -> Windows:
    return place.general("heldout", text.heldout.shape[1])


def _read(place: Workplace, adapter: Adapter, windows: Windows) -> dict[str, Any]:
    """The base, the row in full and the row as it is served, on windows."""
    full = adapter.values / np.float32(adapter.provenance.get("scale", 1.0))
    table = np.stack([np.zeros_like(full), full, adapter.values])
    read = row_losses(place.base, place.injection(adapter.format), table, windows)
    return {
        name: {
            "perplexity": losses.perplexity,
            "improvement": improvement(read[0], losses).as_dict(),
            "window_nats": [round(value, 4) for value in losses.nats.tolist()],
        }
        for name, losses in zip(("base", "in_full", "as_served"), read, strict=True)
    }


if __name__ == "__main__":
    main()
