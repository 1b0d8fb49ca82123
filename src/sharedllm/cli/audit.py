"""`sharedllm audit`: the log of what happened in an encrypted store."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from sharedllm.cli.options import json_option, store_option
from sharedllm.cli.printing import print_json, print_json_list, print_long_table
from sharedllm.errors import InvalidInput
from sharedllm.strict_json import read_strictly

if TYPE_CHECKING:
    from sharedllm.store.erasure import AuditHead, Written


@click.group()
def command() -> None:
    """Read and verify the log of what happened in an encrypted store.

    Every entry is bound to all before it, and signed. Whoever cuts off its end leaves a log that is whole; keep its
    head elsewhere from time to time, and have the log compared with it.
    """


@command.command("list")
@click.option("--user", help="Only what happened to this user.")
@store_option
@json_option
def list_entries(user: str | None, store: str | None, as_json: bool) -> None:
    """Show what happened, oldest first. Nobody is named; who knows an id can ask for that user's entries."""
    from sharedllm.store.address import open_database
    from sharedllm.store.encryption.sealing import audit_key
    from sharedllm.store.evidence.audit import written

    with closing(open_database(store)) as database:
        subject = None if user is None else audit_key(database, user)
        if as_json:
            print_json_list(asdict(entry) for entry in written(database, subject))
        else:
            print_long_table(("PLACE", "WHEN", "WHAT", "RELEASE"), lambda: map(_row, written(database, subject)))


def _row(entry: "Written") -> tuple[str, ...]:
    return (
        str(entry.place),
        entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
        entry.kind.replace("_", " "),
        "-" if entry.number is None else str(entry.number),
    )


@command.command()
@store_option
@json_option
def head(store: str | None, as_json: bool) -> None:
    """Show how far the log goes. Keep what --json prints where whoever may write to the store may not."""
    from sharedllm.store.address import open_database
    from sharedllm.store.evidence.audit import head

    with closing(open_database(store)) as database:
        _show(head(database), as_json, "The log goes to")


@command.command()
@click.option("--head", "kept_file", type=click.File("rb"), help="What `sharedllm audit head --json` printed before.")
@click.option(
    "--public-key",
    "key_file",
    type=click.Path(path_type=Path),
    help="PEM file of the key that signs the log. By default this machine's own.",
)
@store_option
@json_option
def verify(kept_file: IO[bytes] | None, key_file: Path | None, store: str | None, as_json: bool) -> None:
    """Check that no entry was edited, removed, exchanged or put in."""
    from sharedllm.store.address import open_database
    from sharedllm.store.evidence.audit import verify
    from sharedllm.store.evidence.signing import verifying_key

    kept = None if kept_file is None else _read(kept_file.read())
    with closing(open_database(store)) as database:
        _show(verify(database, verifying_key(key_file), kept), as_json, "The log is whole to")


def _show(head: "AuditHead", as_json: bool, what: str) -> None:
    if as_json:
        print_json(asdict(head))
    else:
        click.echo(f"{what} entry {head.place:,}, {head.hash}")


def _read(data: bytes) -> "AuditHead":
    from sharedllm.store.erasure import AuditHead

    try:
        found = read_strictly(data)
        return AuditHead(int(found["place"]), str(found["hash"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidInput(
            "That is not the head of an audit log", remedy="Give what `sharedllm audit head --json` printed."
        ) from None
