"""`sharedllm receipts`: what was signed when somebody was erased."""

from pathlib import Path
from typing import IO

import click

from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import ReceiptError


@click.group()
def command() -> None:
    """Check what was signed when somebody was erased.

    A receipt says what was removed and from where, and does not name the user: whoever knows the id can check that it
    is theirs.
    """


@command.command()
@click.argument("file", type=click.File("rb"))
@click.option("--user", help="Check that it is about the user with this id.")
@click.option(
    "--public-key",
    "key_file",
    type=click.Path(path_type=Path),
    help="PEM file of the key of whoever signed it. By default this machine's own.",
)
@json_option
def verify(file: IO[bytes], user: str | None, key_file: Path | None, as_json: bool) -> None:
    """Check that the receipt in FILE is as it was signed, and show what it says."""
    from sharedllm.store.evidence.receipts import read_receipt
    from sharedllm.store.evidence.signing import verifying_key

    receipt = read_receipt(file.read(), verifying_key(key_file))
    if user is not None and not receipt.is_about(user):
        raise ReceiptError("The receipt is about somebody else", remedy="Give the id exactly, letter case and all.")
    if as_json:
        print_json(receipt.as_dict())
        return
    click.echo(f"Receipt {receipt.id} is as it was signed. Erased at {receipt.at}:\n")
    print_table(("REMOVED", "FROM", "COUNT"), ((each.what, each.where, str(each.count)) for each in receipt.removed))
    if receipt.derived:
        click.echo()
        print_table(("DERIVED", "WHERE", ""), ((each.what, each.where, each.outcome) for each in receipt.derived))


@command.command()
def key() -> None:
    """Print this machine's public key, for whoever checks receipts elsewhere."""
    from sharedllm.store.evidence.signing import public_pem, signing_key

    click.echo(public_pem(signing_key().public_key()), nl=False)
