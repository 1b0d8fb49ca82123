"""`sharedllm demo`: the main job on three real people, from nothing."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm import __version__
from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.cli.hints import as_given
from sharedllm.cli.options import store_option
from sharedllm.cli.telling import train_all, workplace
from sharedllm.errors import InvalidInput
from sharedllm.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sharedllm.base.loading import Base
    from sharedllm.evaluation.perplexity import Windows
    from sharedllm.operations.workplace import Workplace
    from sharedllm.reporting.report_data import Report, Voice
    from sharedllm.store import Release, Store

USERS = ("programmer", "novelist", "scientist")
PROMPT_TOKENS = 64
VOICE_TOKENS = 40
WINDOWS = 32


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sharedllm-demo.html"),
    show_default=True,
    help="Where to write the report page; its numbers go beside it as JSON.",
)
@store_option
def command(out: Path, store: str | None) -> None:
    """Train, prove and compare three sample users, from nothing.

    Fetches the base (93 MB), general text (85 MB) and the texts of a programmer, a novelist and a scientist (15 MB),
    trains an adapter for each in one run, puts each through the gate, stores them, and shows whose adapter helps on
    whose text. A second run reuses what is there.
    """
    from sharedllm.operations.authors import Author
    from sharedllm.reporting.page import write_page
    from sharedllm.reporting.terminal import render
    from sharedllm.store import open_store
    from sharedllm.text.sources import SAMPLE
    from sharedllm.training.recipes import DEFAULT_RECIPE, recipe_named

    numbers = out.with_suffix(".report.json")
    origins = {user: [f"{SAMPLE}{user}"] for user in USERS}
    authors = [Author(user, partial(_read, user, origin), origin) for user, origin in origins.items()]
    with open_store(store) as opened, workplace(DEFAULT_BASE, opened) as place:
        outcomes = train_all(place, opened, authors, recipe_named(DEFAULT_RECIPE))
        releases = {}
        for user, outcome in outcomes.items():
            if outcome.error is not None:
                raise outcome.error
            if outcome.release is not None:
                releases[user] = opened.release(user, outcome.release.number)
        key = _key(releases)
        report = _measured(numbers, key) or _measure(place, opened, releases)
    write_page(report, out)
    _keep(numbers, key, report)
    render(report)
    click.echo(f"\nreport page: {out.resolve()}")
    click.echo(printable(as_given('next: sharedllm ask novelist "Who came to the door?" --compare')))


def _read(user: str, sources: Sequence[str]) -> str:
    from sharedllm.text.sources import read_sources

    return read_sources(user, sources).text


def _measured(numbers: Path, key: str) -> "Report | None":
    """The report of an earlier run on the same releases, if its numbers are there and whole."""
    from sharedllm.reporting.report_data import Report

    try:
        stored = json.loads(numbers.read_text(encoding="utf-8"))
        return Report.from_dict(stored["report"]) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(numbers: Path, key: str, report: "Report") -> None:
    content = json.dumps({"key": key, "report": report.as_dict()}, indent=1) + "\n"
    try:
        numbers.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"The report's numbers cannot be written to {numbers}: {error.strerror}",
            remedy="Make room there, or choose another path.",
        ) from error


def _measure(place: "Workplace", store: "Store", releases: "Mapping[str, Release]") -> "Report":
    from datetime import UTC, datetime

    from sharedllm.evaluation.intervals import improvement
    from sharedllm.operations.evaluate import evaluate
    from sharedllm.operations.release_text import window_of
    from sharedllm.reporting.report_data import Report

    numbers = {user: release.number for user, release in releases.items()}
    found = evaluate(place, store, list(releases), numbers=numbers)
    first = next(iter(releases.values()))
    adapters = {user: release.adapter.values for user, release in releases.items()}
    return Report(
        base=DEFAULT_BASE,
        fingerprint=place.fingerprint,
        recipe=first.adapter.provenance["recipe"]["name"],
        window=window_of(first),
        confusion=found.confusion,
        general={user: improvement(found.general[None], found.general[user]) for user in releases},
        repeats=found.repeats,
        gates={user: release.gate for user, release in releases.items()},
        voices=_voices(place.base, adapters, found.heldout),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )


def _voices(
    base: "Base", adapters: "Mapping[str, NDArray[np.float32]]", heldout: "Mapping[str, Windows]"
) -> "list[Voice]":
    """Each user's own held-out words, continued by the base and by their adapter, all in one batch."""
    from sharedllm.operations.ask import generate
    from sharedllm.reporting.report_data import Voice
    from sharedllm.serving.request import DEFAULT_SAMPLING

    prompts = {user: heldout[user][0, :PROMPT_TOKENS].tolist() for user in adapters}
    asked = [(prompts[user], row) for user, values in adapters.items() for row in (None, values)]
    texts = generate(base, asked, max_tokens=VOICE_TOKENS, sampling=DEFAULT_SAMPLING)
    return [
        Voice(user, base.decode(prompts[user]), unadapted, own)
        for user, unadapted, own in zip(adapters, texts[::2], texts[1::2], strict=True)
    ]


def _key(releases: "Mapping[str, Release]") -> str:
    """Names the measurement: these releases, read by this version."""
    from dataclasses import asdict

    from sharedllm.serving.request import DEFAULT_SAMPLING

    read = [PROMPT_TOKENS, VOICE_TOKENS, asdict(DEFAULT_SAMPLING), WINDOWS]
    content = json.dumps([__version__, read, [release.id for release in releases.values()]])
    return hashlib.sha256(content.encode()).hexdigest()
