"""The prior that ships, made again: the frames of SmolLM2-135M, trained on several hundred public people.

    python -m benchmarks.prior out/people       # forty minutes on two quiet cores; goes on where it was ended

It leaves `frames.safetensors` and `prior.json` in the folder, as they lie in `src/sharedllm/base/` under the built-in
base's name. The people are those of the role `prior` in `text/public_people.py`, of every kind at most so many, since
the kinds differ in size; nobody of the role `figures` is read.
"""

import hashlib
import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sharedllm import __version__
from sharedllm.base.fingerprint import FRAMES
from sharedllm.base.frames import PRIOR, write_frames
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.text.people import Person
from sharedllm.text.public_people import public_people
from sharedllm.training.prior import Contributor, PriorRecipe, train_prior

RECIPE = PriorRecipe(steps=700, people=4)
"""As many steps as an hour of two slow cores held; the loss was still falling at the last."""

MOST = 60
MOST_OF = {"library": 80} | dict.fromkeys(("bundestag", "cortes", "sentences-es"), 20)
"""People of a kind, by default and of some: the base knows little but English."""


def selected() -> list[Person]:
    """Whose texts are in the prior, in the order of their ids."""
    kinds: dict[str, dict[str, Person]] = defaultdict(dict)
    for person in public_people("prior"):
        kinds[person.kind].setdefault(person.user, person)
    chosen = [
        person
        for kind, people in kinds.items()
        for person in sorted(people.values(), key=lambda each: _hash(each.user))[: MOST_OF.get(kind, MOST)]
    ]
    return sorted(chosen, key=lambda person: person.user)


def about(people: list[Person]) -> dict[str, Any]:
    """What `prior.json` says of it."""
    return {
        "name": "smollm2-135m-people",
        "base": BARE_BASE,
        "version": __version__,
        "recipe": asdict(RECIPE),
        "contributors": [
            {"user": each.user, "kind": each.kind, "text_sha256": _hash(each.text), "characters": len(each.text)}
            for each in people
        ],
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    people = selected()
    contributors = [Contributor(each.user, lambda text=each.text: text) for each in people]  # type: ignore[misc]
    with Progress() as bar:
        task = bar.add_task("training", total=RECIPE.steps)
        frames = train_prior(
            load_base(BARE_BASE),
            contributors,
            RECIPE,
            folder=folder,
            on_step=lambda step, loss: bar.update(task, completed=step, description=f"loss {loss:.2f}"),
        )
    write_frames(frames, folder / FRAMES)
    (folder / PRIOR).write_text(json.dumps(about(people), indent=1) + "\n")


if __name__ == "__main__":
    main()
