"""`sharedllm bets`: the pre-registered experiments of a checkout, run, read and reported."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.checkout import checkout
from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import InvalidInput, UnknownName
from sharedllm.printable import printable

if TYPE_CHECKING:
    from experiments.report.bet_results import BetResults, Run
    from sharedllm.reporting.charts import Number

# Below the checkout's root.
BETS = Path("experiments") / "bets"
ROLL_UP = "00_rollup"
# The source documents' numbers; without the file the report has no column for them.
DOCUMENTS = Path("tests") / "experiments" / "recorded.json"


@click.group()
def command() -> None:
    """Run, read and report the pre-registered experiments of a checkout.

    A bet states its criteria before it is run. Its verdict is three independent flags, strict, lenient and
    catastrophic, each yes, no or no data. The bets are files of a checkout of SharedLLM: run this inside of one.
    """


@command.command("list")
@json_option
def list_bets(as_json: bool) -> None:
    """List every bet with its flags, whether it has been run or not."""
    from experiments.catalogue.verdict import TIERS

    bets = _read(checkout())
    if as_json:
        print_json([_about(bet, run) for bet in bets for run in bet.runs.values()])
        return
    print_table(
        ("BET", "PROTOCOL", *(tier.upper() for tier in TIERS), "STATE"),
        [
            (bet.name, run.protocol, *(_flag(run, tier) for tier in TIERS), run.state)
            for bet in bets
            for run in bet.runs.values()
        ],
    )


@command.command()
@click.argument("number")
@json_option
def show(number: str, as_json: bool) -> None:
    """Show what bet NUMBER claims, its criteria, its verdict and everything that it measured."""
    from experiments.catalogue.verdict import TIERS
    from experiments.report.bet_results import TO_ROLL_UP
    from experiments.report.meaning import meanings

    root = checkout()
    name = _name(root, number)
    bet = next((each for each in _read(root) if each.name == name), None)
    if bet is None:
        raise InvalidInput(f"The summary does not know {name}", remedy=f"Make it again: {TO_ROLL_UP}")
    if as_json:
        print_json(
            {
                "bet": bet.name,
                "claim": bet.claim,
                "criteria": dict(bet.criteria),
                "documents": dict(bet.documents),
                "runs": [_about(bet, run) | {"measurements": _measurements(run)} for run in bet.runs.values()],
            }
        )
        return
    click.echo(f"{bet.name}\n{printable(bet.claim)}")
    for run, meaning in zip(bet.runs.values(), meanings(bet), strict=True):
        click.echo(f"\n{run.protocol} protocol: {run.state}")
        print_table(None, [(f"  {tier}", _flag(run, tier), _compared(run, tier), bet.criteria[tier]) for tier in TIERS])
        click.echo(f"  {meaning.sentence}")
        if run.numbers:
            click.echo()
            print_table(None, [(f"  {name}", _text(each), _bounds(each)) for name, each in run.numbers.items()])


@command.command()
@click.argument("number")
@click.option("--base", metavar="NAME", help="Another base than the bet's: a name, a folder, a .gguf file or a hub id.")
@click.option("--users", metavar="USERS", help="Other sample users than the bet's, by comma.")
@click.option("--seeds", metavar="SEEDS", help="Other seeds than the bet's, by comma.")
@click.option(
    "--protocol", type=click.Choice(["documented", "tuned"]), help="One of the bet's protocols; all of them by default."
)
@click.option("--quick", is_flag=True, help="A few steps on a few windows, to see that it runs; never recorded.")
def run(number: str, base: str | None, users: str | None, seeds: str | None, protocol: str | None, quick: bool) -> None:
    """Run bet NUMBER, which takes from minutes to hours, and record its result.

    With another base, other users or other seeds than the bet's own it is recorded as a trial. What an interrupted run
    has made is used by the next.
    """
    root = checkout()
    name = _name(root, number)
    if base and Path(base).exists():
        # The bet runs at the root of the checkout, where a relative path would be another one.
        base = str(Path(base).resolve())
    given = {"--base": base, "--users": users, "--seeds": seeds, "--protocol": protocol}
    arguments = [f"{option}={value}" for option, value in given.items() if value is not None]
    code = _start(root, name, [*arguments, *(["--quick"] if quick else [])])
    if code == 0 and not quick:
        code = _start(root, ROLL_UP, [])
    sys.exit(code)


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sharedllm-bets.html"),
    show_default=True,
    help="Where to write the page.",
)
def report(out: Path) -> None:
    """Write all bets, their flags, figures and meaning as one HTML page that needs no network."""
    from experiments.report.page import write_bets_page

    bets = _read(checkout())
    click.echo(f"report page: {write_bets_page(bets, out).resolve()}")


def _name(root: Path, number: str) -> str:
    """The name of a bet, from its number or itself."""
    names = sorted(path.stem for path in (root / BETS).glob("[0-9][0-9]_*.py") if path.stem != ROLL_UP)
    found = [name for name in names if number in (name, name[:2]) or number.zfill(2) == name[:2]]
    if not found:
        raise UnknownName(
            f"{number!r:.40} is not a bet", remedy=f"Choose one of {', '.join(name[:2] for name in names)}."
        )
    return found[0]


def _read(root: Path) -> "list[BetResults]":
    from experiments.report.bet_results import read_bets

    return read_bets(root / BETS / "results", root / DOCUMENTS)


def _start(root: Path, name: str, arguments: list[str]) -> int:
    """Run a file of the bets' folder to its end, with this terminal as its own, and return its exit status."""
    command = [sys.executable, "-m", ".".join([*BETS.parts, name]), *arguments]
    path = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH")]))
    interrupted = False
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": path}) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                # The terminal has told the bet, too, which writes down that it was abandoned; that takes a moment.
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return code if code >= 0 else 128 - code


def _about(bet: "BetResults", run: "Run") -> dict[str, Any]:
    flags = {
        tier: {"holds": flag.holds, "share_of_resamples": flag.share, "score": flag.score, "missing": flag.missing}
        for tier, flag in run.flags.items()
    }
    return {"bet": bet.name, "claim": bet.claim, "protocol": run.protocol, "state": run.state, "flags": flags}


def _measurements(run: "Run") -> dict[str, dict[str, Any]]:
    return {
        name: {"value": _finite(each.value), "interval": [_finite(each.low), _finite(each.high)]}
        for name, each in run.numbers.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _flag(run: "Run", tier: str) -> str:
    from experiments.catalogue.verdict import flag_in_words
    from experiments.report.page import share_text

    flag = run.flags[tier]
    words = flag_in_words(flag.holds)
    return words if flag.share is None else f"{words} ({share_text(flag.share)})"


def _compared(run: "Run", tier: str) -> str:
    flag = run.flags[tier]
    return "" if flag.score is None else f"{flag.score:.4g} {flag.relation} {flag.bound:.4g}?"


def _text(number: "Number") -> str:
    from experiments.report.page import number_text

    return number_text(number.value)


def _bounds(number: "Number") -> str:
    from experiments.report.page import number_text

    return f"[{number_text(number.low)}, {number_text(number.high)}]" if number.bounded else ""
