"""`sharedllm export`: a user's adapter as files that other tools read."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.cli.telling import workplace
from sharedllm.extras import need
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.operations.exchange import ExchangeKind


@click.command()
@click.argument("user")
@click.option(
    "--to",
    "kind",
    type=click.Choice(["peft", "merged", "gguf", "adapter"]),
    required=True,
    help="What to write; see above.",
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--release", "number", type=int, metavar="N", help="By default the release that answers for USER.")
@base_option
@store_option
@json_option
def command(
    user: str,
    kind: "ExchangeKind",
    out: Path,
    number: int | None,
    base_name: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Write a user's adapter for other tools: PEFT, merged, GGUF.

    OUT must not exist yet, or be an empty folder. The base must be the one that USER's adapter was trained on.

    \b
    --to peft      a folder with a PEFT adapter (LN_TUNING, LORA or both), to load over the base
    --to merged    a folder with the whole model, for transformers and most other runtimes
    --to gguf      a file with the whole model, for llama.cpp; the base must come from a GGUF file
    --to adapter   a file with the adapter alone, for `sharedllm import` on another machine

    A README says what it is, whose, how it is loaded, what was measured, and who may use it. PEFT finds the base by its
    hub id, or by the absolute path of its folder on this machine. Of a base with a prior, a folder inside PEFT's holds
    the prior as well, to load over the base without it.

    The files are no longer ours to look after: `sharedllm users erase` does not reach them.
    """
    if kind == "peft":
        need("exchange")

    from sharedllm.operations.exchange import export
    from sharedllm.store import open_store

    with open_store(store) as opened, workplace(base_name, opened) as place:
        release = export(place, opened, user, kind, out, number=number)
    if as_json:
        gate = {"passed": release.gate.passed, "reason": release.gate.reason}
        print_json({"user": user, "release": release.number, "to": kind, "path": str(out), "gate": gate})
        return
    click.echo(f"Wrote release {release.number} of {printable(user)} to {printable(str(out))}.")
    if not release.gate.passed:
        click.echo(f"Note that this release did not pass its gate: {printable(release.gate.reason)}")
