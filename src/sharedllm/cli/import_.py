"""`sharedllm import`: an adapter from elsewhere, stored as a new release and served only if it passes here."""

from pathlib import Path

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.cli.telling import workplace
from sharedllm.extras import need
from sharedllm.printable import printable
from sharedllm.user_ids import check_user_id


@click.command()
@click.argument("user")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="PATH",
    help="Text of USER's to test it on, a file, a folder or - for stdin; may be given several times.",
)
@base_option
@store_option
@json_option
def command(
    user: str, path: Path, texts: tuple[str, ...], base_name: str | None, store: str | None, as_json: bool
) -> None:
    """Store an adapter that another tool or machine wrote.

    PATH is a folder with a PEFT adapter, LN_TUNING or what `sharedllm export --to peft` wrote, or a file that
    `sharedllm export --to adapter` wrote, for this base. It becomes a new release of USER.

    What it was tested on elsewhere does not count here. With --text it is put through the gate, and answers for USER if
    it passes; without, it is stored and held back. Only the block of the text that training validates on is read: give
    the very text that `sharedllm train` read, or any that the adapter was not trained on.
    """
    if path.is_dir():
        need("exchange")

    from sharedllm.adapters.adapter import UNTESTED
    from sharedllm.operations.exchange import import_
    from sharedllm.store import open_store
    from sharedllm.store.rules import override_command

    check_user_id(user)
    with open_store(store) as opened, workplace(base_name, opened) as place:
        release = import_(place, opened, user, path, wrote=texts or None)
    gate, verified = release.gate, release.adapter.provenance["imported"]["base_verified"]
    if as_json:
        outcome = {"passed": gate.passed, "reason": gate.reason, "figures": gate.figures}
        print_json({"user": user, "release": release.number, "base_verified": verified, "gate": outcome})
        return
    click.echo(f"Stored as release {release.number} of {printable(user)}; {printable(gate.reason)}.")
    if not verified:
        click.echo("It does not say which base it was trained on; the names and shapes fit this one.")
    if not gate.passed:
        tested = "import it again with --text, or " if gate.reason == UNTESTED else ""
        click.echo(f"To let it answer: {tested}{printable(override_command(user, release.number))}")
