"""The memory that a prior takes does not grow with the people: 50 against 2,000 of them."""

import json
import os
import subprocess
import sys

import pytest
from tests.cli.conftest import writing

PEOPLE = {"few": 50, "many": 2_000}
CHARACTERS, RANK = 6_000, 64

ADAPTING = f"""
import resource, sys
from pathlib import Path
from tests.cli.conftest import writing
from sharedllm.operations.adapt import adapt
from sharedllm.operations.workplace import Workplace
from sharedllm.training import prior

# As many tokens as a few people have: what is at hand is bounded, however much there is.
prior._TOKENS_KEPT = 100_000
prior._UNSETTLED_BYTES = 1_000_000
recipe = prior.PriorRecipe(rank={RANK}, steps=50, people=40, window=32, warmup=1)
folder, manifest, training = sys.argv[1:]
with Workplace(folder, folder=Path(training), general=writing("general")) as place:
    made = adapt(place, Path(manifest), "ours", recipe)
print(len(made.about["contributors"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.rare
def test_peak_memory_does_not_grow_with_the_people(folder_of, tmp_path):
    found = {}
    for name, count in PEOPLE.items():
        manifest = tmp_path / f"{name}.jsonl"
        with manifest.open("w") as stream:
            for number in range(count):
                text = f"person {number} " + writing(str(number % 7), CHARACTERS)
                stream.write(json.dumps({"user": f"user-{number}", "text": text, "shared": True}) + "\n")
        environ = {
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path / name / "data"),
            "SHAREDLLM_CACHE": str(tmp_path / name / "cache"),
        }
        command = [sys.executable, "-c", ADAPTING, folder_of("llama"), manifest, tmp_path / name / "training"]
        ran = subprocess.run(command, check=True, env=environ, stdout=subprocess.PIPE, text=True, timeout=280)
        found[name] = [int(each) for each in ran.stdout.split()]
    (few, least), (many, most) = found.values()
    # Their texts, their tokens, and their coordinates with two moments at each of two layers' seven projections.
    alone = (many - few) * (CHARACTERS + 4 * CHARACTERS + 4 * 3 * RANK * 14)
    assert many > 30 * few
    assert most - least < 0.1 * alone, f"{few}: {least / 2**20:.1f} MB, {many}: {most / 2**20:.1f} MB"
