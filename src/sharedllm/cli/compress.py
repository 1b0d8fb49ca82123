"""`sharedllm compress`: one user's adapter in int8, if measurement says that it survives."""

import math
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.cli.telling import workplace
from sharedllm.printable import printable
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.evaluation.perplexity import Losses


@click.command()
@click.argument("user")
@click.argument("sources", nargs=-1)
@base_option
@store_option
@json_option
def command(user: str, sources: tuple[str, ...], base_name: str | None, store: str | None, as_json: bool) -> None:
    """Quantise a user's adapter to int8, if it survives that.

    Some adapters do and some end up worse than none, so it is decided user by user. No adapter, the one that USER is
    served and its int8 form read the validation block of USER's text, which is read again from where it was when it was
    trained on, or from SOURCES. int8 is kept only if its perplexity is at most 1.5 times the raw one's and below that
    of no adapter. It then becomes a new release and has to pass the gate like any other; `sharedllm users rollback`
    goes back. Otherwise nothing changes, and you are told why.

    The store keeps 16 bits a value either way, so nothing is saved in it. The sizes shown are of the values packed;
    the release records the scales that lead back to the int8 integers.
    """
    from sharedllm.operations.compress import compress
    from sharedllm.store import open_store
    from sharedllm.store.rules import override_command

    check_user_id(user)
    with open_store(store) as opened, workplace(base_name, opened) as place:
        found = compress(place, opened, user, sources)
    release, published = found.release, found.published
    losses = {"none": found.none, "raw": found.raw, "int8": found.int8}
    sizes = {"raw": 2 * len(release.adapter.values), "int8": found.packed.bytes}
    about: dict[str, Any] = {
        "user": user,
        "release": release.number,
        "window": found.window,
        "windows": len(found.raw.nats),
        "perplexity": {name: _finite(each) for name, each in losses.items()},
        "bytes": sizes,
        "kept": found.kept,
        "reason": found.reason,
        "published": published
        and {"release": published.number, "served": published.gate.passed, "gate": published.gate.reason},
    }
    if as_json:
        print_json(about)
        return
    click.echo(f"{printable(user)}, release {release.number}, windows of {found.window} tokens\n")
    print_table(
        ("ADAPTER", "PERPLEXITY", "BYTES"),
        [(name, f"{each.perplexity:.2f}", f"{sizes.get(name, 0):,}") for name, each in losses.items()],
    )
    click.echo(f"\n{found.reason}")
    if published is not None:
        click.echo(f"release {published.number} {published.gate.verdict}: {printable(published.gate.finding)}")
        if not published.gate.passed:
            click.echo(
                "next: nothing need be done, or " + printable(as_given(override_command(user, published.number)))
            )
        answers = published if published.gate.passed else release
        click.echo(f"release {answers.number} answers")


def _finite(losses: "Losses") -> float | None:
    """A perplexity that JSON can hold."""
    return losses.perplexity if math.isfinite(losses.perplexity) else None
