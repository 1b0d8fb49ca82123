"""`sharedllm import`: an adapter from elsewhere, stored as a new release and served only if it passes here."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import base_option, json_option, store_option
from sharedllm.cli.printing import print_json
from sharedllm.extras import need
from sharedllm.printable import printable
from sharedllm.users import check_user_id

if TYPE_CHECKING:
    from sharedllm.adapters.adapter import Adapter, GateOutcome
    from sharedllm.operations.workplace import Workplace


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
def command(user: str, path: Path, texts: tuple[str, ...], base_name: str, store: str | None, as_json: bool) -> None:
    """Store an adapter that another tool or machine wrote.

    PATH is a folder with PEFT's LN_TUNING adapter, or a file that `sharedllm export --to adapter` wrote, for this base.
    It becomes a new release of USER.

    What it was tested on elsewhere does not count here. With --text it is put through the gate, and answers for USER if
    it passes; without, it is stored and held back. Only the block of the text that training validates on is read: give
    the very text that `sharedllm train` read, or any that the adapter was not trained on.
    """
    if path.is_dir():
        need("exchange")

    from sharedllm.adapters.adapter import UNTESTED
    from sharedllm.store import open_store
    from sharedllm.store.rules import override_command

    check_user_id(user)
    with open_store(store) as opened_store:
        # Before anything of theirs is read: who is erased after that is not to come back by this.
        stay = opened_store.begin([user])[user]
        adapter, opened = _read(path, base_name)
        gate = _judge(user, texts, opened, adapter)
        release = opened_store.publish(user, adapter, gate, stay)
    verified = adapter.provenance["imported"]["base_verified"]
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


def _read(path: Path, base_name: str) -> tuple["Adapter", "Workplace"]:
    from sharedllm.adapters.adapter import check_fits
    from sharedllm.adapters.adapter_file import as_imported, load_adapter
    from sharedllm.adapters.exchange.peft import import_peft
    from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
    from sharedllm.cli.telling import workplace

    opened = workplace(base_name)
    if path.is_dir():
        return import_peft(opened.base, opened.injection(DEFAULT_FORMAT).layout, path), opened
    adapter = load_adapter(path)
    layout = opened.injection(adapter.format).layout
    check_fits(adapter, layout)
    return as_imported(adapter, layout), opened


def _judge(user: str, texts: tuple[str, ...], opened: "Workplace", adapter: "Adapter") -> "GateOutcome":
    from sharedllm.adapters.adapter import UNTESTED, GateOutcome
    from sharedllm.evaluation.gate import Gate, mind_repeats
    from sharedllm.text.sources import read_sources
    from sharedllm.text.splits import split_text
    from sharedllm.text.windows import tokenize

    if not texts:
        return GateOutcome(False, UNTESTED)
    own = tokenize(user, split_text(read_sources(user, texts).text, user=user), opened.base.encode)
    general = opened.general("validation", own.validation.shape[1])
    verdict = Gate().judge(opened.base, opened.injection(adapter.format), adapter, own.validation, general)
    return mind_repeats(verdict, own.repeats)
