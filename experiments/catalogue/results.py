"""Results at rest: official, trial and abandoned ones apart, each with the world it was measured in."""

import hashlib
import json
import math
import subprocess
from pathlib import Path
from typing import Any, Literal

from experiments.catalogue.bet import BETS, Bet
from experiments.catalogue.context import Context
from experiments.catalogue.protocols import FULL, RATES, recipes
from experiments.catalogue.readings import Readings, doubt
from experiments.catalogue.verdict import Measured, judge
from sharedllm.errors import InvalidInput
from sharedllm.files import replacing
from sharedllm.reporting.environment import describe

SCHEMA = 1
RESULTS = BETS / "results"
_ROOT = BETS.parent.parent
_WIDENED = RESULTS / "WIDENED.json"

Status = Literal["official", "trial", "abandoned", "quick"]
"""A quick run has a status, so that nobody takes its numbers for a trial's, and no place to be written to."""


def result_of(
    bet: Bet, context: Context, readings: Readings, *, status: Status, begun: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """One run under one protocol, as JSON values: verdict, measurements with intervals, world, readings."""
    measured = Measured(readings.users, bet.measure(readings))
    doubts = doubt(readings, bet.measure, bet.criteria)
    verdict = judge(bet.criteria, measured)
    for tier, share in doubts.holds.items():
        verdict[tier]["holds_in_resamples"] = share
    return {
        "status": status,
        "protocol": context.protocol,
        "criteria_sha256": bet.criteria_sha256,
        "verdict": verdict,
        "measurements": {
            name: {"value": _finite(value), "interval": [_finite(end) for end in doubts.intervals[name]]}
            for name, value in measured.values.items()
        },
        "improvements_over_base": readings.improvements(),
        "world": world(context, begun, seconds),
        "readings": readings.as_dict(),
    }


def surroundings() -> dict[str, Any]:
    """Machine, packages and code as they are now: asked for when a run begins, for they may change while it lasts."""
    return {**describe(), "code_sha256": _code_sha256()}


def world(context: Context, begun: dict[str, Any], seconds: float) -> dict[str, Any]:
    """All that a run depends on.

    Args:
        context: of the run.
        begun: the `surroundings` it began in.
        seconds: how long it took.
    """
    texts = context.texts()
    return {
        **begun,
        "base": {
            "name": context.base.name,
            "fingerprint": context.base.fingerprint,
            "dtype": str(context.base.dtype),
            "device": _device(context),
        },
        "users": list(context.users),
        "seeds": list(context.seeds),
        "texts": {name: text.sha256 for name, text in texts.items()},
        "evaluation_windows": {
            name: hashlib.sha256(context.heldout(name).astype("<i8").tobytes()).hexdigest() for name in texts
        },
        "window": context.size.window,
        "windows": context.size.windows,
        "adapters": context.used,
        "recipes_tried": {method: [each.as_dict() for each in recipes(context.protocol, method)] for method in RATES},
        "seconds": round(seconds, 1),
    }


def save_result(bet: Bet, context: Context, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a finished run where results of its status lie: an official one replaces the protocol's earlier one.

    Raises:
        InvalidInput: the run was a quick one, or is called official and was not of the bet's own set-up.
    """
    if context.size != FULL or result["status"] == "quick":
        raise InvalidInput("A quick run is no result", remedy="Run the bet without --quick.")
    if result["status"] == "official" and not is_own_setup(bet, context):
        raise InvalidInput(f"This run of {bet.name} is not of its own set-up", remedy="Record it as a trial.")
    if result["status"] == "official":
        path = folder / f"{bet.name}.json"
        stored = _stored(path)["protocols"] if path.exists() else {}
        _write(path, _file(bet, {**stored, context.protocol: result}))
    else:
        date = result["world"]["date"].replace(":", "")
        path = folder / result["status"] / f"{bet.name}-{context.protocol}-{date}.json"
        _write(path, _file(bet, {context.protocol: result}))
    return path


def save_abandoned(
    bet: Bet, context: Context, reason: str, *, begun: dict[str, Any], seconds: float, folder: Path = RESULTS
) -> Path:
    """Write that a run ended without a result, and why."""
    result = {
        "status": "abandoned",
        "protocol": context.protocol,
        "criteria_sha256": bet.criteria_sha256,
        "reason": reason,
        "world": world(context, begun, seconds),
    }
    return save_result(bet, context, result, folder)


def load_result(path: Path) -> dict[str, Any]:
    """A result file, with every run's criteria under the hash that covers the decision and the figures as well.

    A run from when it covered the criteria alone has the hash it was run under as ``run_under``, and as ``widened`` the
    date on which the bet's decision and figures came under the wider one, as they were then.

    Raises:
        InvalidInput: it is not one, or of another schema.
    """
    stored = _stored(path)
    widened = json.loads(_WIDENED.read_text())
    for found in stored["protocols"].values():
        narrow = found["criteria_sha256"]
        if narrow in widened["hashes"]:
            found |= {"criteria_sha256": widened["hashes"][narrow], "run_under": narrow, "widened": widened["date"]}
    return stored


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        schema = stored["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not a result: {error}", remedy="Run the bet again.") from error
    if schema != SCHEMA:
        raise InvalidInput(f"{path} has schema {schema!r}, and this code reads {SCHEMA}", remedy="Run the bet again.")
    return stored


def is_own_setup(bet: Bet, context: Context) -> bool:
    """Whether a run is of the bet as it was registered, set-up and committed file alike; anything else is a trial."""
    from sharedllm.base.resolve import BARE_BASE

    return (
        context.size == FULL
        and context.base.name == BARE_BASE
        and context.users == bet.users
        and context.seeds == bet.seeds
        and context.protocol in bet.protocols
        and _is_committed(BETS / f"{bet.name}.py")
    )


def _file(bet: Bet, protocols: dict[str, Any]) -> dict[str, Any]:
    return {"schema": SCHEMA, "bet": bet.name, "claim": bet.claim, "protocols": protocols}


def _write(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    with replacing(path) as part:
        part.write_text(text)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _is_committed(path: Path) -> bool:
    """Whether git has the file as it is: criteria come first, and the history must show it."""
    name = path.relative_to(_ROOT).as_posix()
    try:
        done = subprocess.run(["git", "show", f"HEAD:{name}"], cwd=_ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return done.stdout == path.read_bytes()


def _code_sha256() -> str:
    """Over every source file a result depends on, so that a run from a dirty tree can still be told from another."""
    digest = hashlib.sha256()
    for path in sorted([*(_ROOT / "src").rglob("*.py"), *(_ROOT / "experiments").rglob("*.py")]):
        digest.update(f"{path.relative_to(_ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _device(context: Context) -> str:
    import torch

    device = context.base.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
