"""A hundred real people as an operator would serve them: trained, judged, and read with one another's adapters.

    python -m benchmarks.people people/        # four hours on two cores; the same command goes on where it was ended

It runs `sharedllm fleet people`, `fleet train` and `fleet report` as anyone would, with the manifest, the store and
the report's page in the folder it is given, and keeps what they said. How many users an hour were trained is what each
run of the training said last; where there were several, each began with the checkpoints of the one before.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "people.json"
WORKERS, SHARD = 2, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept meanwhile")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(exist_ok=True)
    environment, manifest, told = describe(), folder / "people.jsonl", folder / "train.jsonl"
    if not manifest.exists():
        _fleet(folder, "people", "--out", manifest)
    with told.open("a") as lines:
        options = "--workers", WORKERS, "--shard-size", SHARD, "--json"
        _fleet(folder, "train", "--manifest", manifest, *options, into=lines)
    report = _fleet(folder, "report", "--manifest", manifest, "--out", folder / "fleet.html", "--json")
    result = {"environment": environment, "training": runs(told.read_text().splitlines()), "report": json.loads(report)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def runs(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The last that every run of a training said of its progress, of those in which somebody was trained."""
    found: list[dict[str, Any]] = []
    for line in lines:
        event = json.loads(line)
        if event.pop("event") not in ("progress", "summary"):
            continue
        if found and event["seconds"] >= found[-1]["seconds"]:
            found.pop()
        found.append(event)
    return [each for each in found if each["done"] > each["before"]]


def _fleet(folder: Path, *arguments: Any, into: IO[str] | int = subprocess.PIPE) -> str:
    """What a command of the fleet prints, unless it goes elsewhere."""
    command = [sys.executable, "-m", "sharedllm", "fleet", *map(str, arguments)]
    environment = os.environ | {"XDG_DATA_HOME": str(folder / "data")}
    return subprocess.run(command, env=environment, stdout=into, text=True, check=True).stdout


if __name__ == "__main__":
    main()
