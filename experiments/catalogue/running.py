"""One bet from the command line: ``python -m experiments.bets.NN_name``."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from experiments.catalogue.bet import Bet
from experiments.catalogue.context import Context
from experiments.catalogue.protocols import FULL, PROTOCOLS, QUICK, Protocol
from experiments.catalogue.results import (
    RESULTS,
    Status,
    is_own_setup,
    result_of,
    save_abandoned,
    save_result,
    surroundings,
)
from experiments.catalogue.strangers import text_of
from experiments.catalogue.verdict import flag_in_words
from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.errors import InvalidInput, SharedLLMError

OUT = Path("out")


def run_bet(
    bet: Bet,
    base: Base,
    protocol: Protocol,
    *,
    users: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    quick: bool = False,
    out: Path = OUT,
    results: Path = RESULTS,
    read_text: Callable[[str], str] = text_of,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run a bet under one protocol and record what comes out; a quick run is returned and recorded nowhere.

    A run that fails or is interrupted is recorded as abandoned; what it had made is reused by the next.

    Raises:
        InvalidInput: several seeds for a bet that trains once.
    """
    if seeds and len(seeds) > 1 and len(bet.seeds) == 1:
        raise InvalidInput(f"{bet.name} trains with one seed, not {len(seeds)}", remedy="Run it once for each seed.")
    context = Context(
        base,
        users or bet.users,
        seeds or bet.seeds,
        protocol,
        out=_folder(out, base, quick),
        size=QUICK if quick else FULL,
        read_text=read_text,
        say=say,
    )
    begun, clock = surroundings(), time.monotonic()
    status: Status = "quick" if quick else "official" if is_own_setup(bet, context) else "trial"
    try:
        readings = bet.run(context)
        result = result_of(bet, context, readings, status=status, begun=begun, seconds=time.monotonic() - clock)
    except (Exception, KeyboardInterrupt) as error:
        if not quick:
            reason, seconds = f"{type(error).__name__}: {error}", time.monotonic() - clock
            path = save_abandoned(bet, context, reason, begun=begun, seconds=seconds, folder=results)
            say(f"abandoned: {path}")
        raise
    finally:
        context.close()
    if not quick:
        say(f"written: {save_result(bet, context, result, results)}")
    return result


def _folder(out: Path, base: Base, quick: bool) -> Path:
    """Adapters of another base, and of quick runs, lie apart: they would replace the default base's."""
    if quick:
        return out / "quick"
    return out if base.name == BARE_BASE else out / base.fingerprint[:12]


def main(bet: Bet) -> None:
    """The command line of one bet's file."""

    @click.command(name=bet.name, help=bet.claim)
    @click.option("--base", default=BARE_BASE, show_default=True, help="Name, folder, .gguf file or hub id.")
    @click.option("--users", default=",".join(bet.users), show_default=True, help="Sample users, by comma.")
    @click.option("--seeds", default=",".join(map(str, bet.seeds)), show_default=True, help="By comma.")
    @click.option("--protocol", type=click.Choice(PROTOCOLS), help="One of the bet's; all of them by default.")
    @click.option("--quick", is_flag=True, help="A few steps on a few windows; never recorded.")
    def command(base: str, users: str, seeds: str, protocol: Protocol | None, quick: bool) -> None:
        try:
            loaded = load_base(base)
            for each in [protocol] if protocol else bet.protocols:
                result = run_bet(
                    bet,
                    loaded,
                    each,
                    users=tuple(users.split(",")),
                    seeds=tuple(int(seed) for seed in seeds.split(",")),
                    quick=quick,
                    say=lambda line: click.echo(line, err=True),
                )
                click.echo(in_words(bet, result))
        except (SharedLLMError, ValueError) as error:
            click.echo(f"{bet.name}: {error}", err=True)
            sys.exit(2)

    command()


def in_words(bet: Bet, result: dict[str, Any]) -> str:
    """The verdict of one run, a line a tier."""
    lines = [f"{bet.name}, {result['protocol']} protocol ({result['status']})"]
    for tier, verdict in result["verdict"].items():
        flag = flag_in_words(verdict["holds"])
        score = (
            "" if verdict["score"] is None else f" ({verdict['score']:.4g} {verdict['relation']} {verdict['bound']:g}?)"
        )
        lines.append(f"  {tier:12} {flag:8} {verdict['statement']}{score}")
    return "\n".join(lines)
