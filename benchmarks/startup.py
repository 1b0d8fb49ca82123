"""How long `sharedllm --help` takes, as a whole process, against an interpreter that does nothing.

python -m benchmarks.startup
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "startup.json"
RUNS = 20
COMMANDS = {
    "sharedllm --help": [str(Path(sys.executable).with_name("sharedllm")), "--help"],
    "sharedllm train --help": [str(Path(sys.executable).with_name("sharedllm")), "train", "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: sorted(values)[RUNS // 2] for name, values in seconds.items()}
    RESULT.parent.mkdir(exist_ok=True)
    result = {"environment": describe(), "median_seconds": medians, "seconds": seconds}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
