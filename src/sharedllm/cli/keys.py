"""`sharedllm keys`: who may use the API, and as whom."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.options import json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import InvalidInput
from sharedllm.operations.key_lists import COLUMNS, as_csv, check_distinct, holders_of_lines, holders_of_table
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.store.api_keys import Key, Keys

_FORMATS = ("csv", "jsonl")


@click.group()
def command() -> None:
    """Create, list and revoke API keys.

    A user's key speaks for that user alone. A service key may act for any user it names, so keep it on your own
    servers. Keys are kept beside the adapters, as hashes: a lost key cannot be read back, only replaced.
    """


@command.command()
@click.option("--user", "users", multiple=True, metavar="USER", help="Whom the key speaks for; may be repeated.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make a key for everybody in a file: a user a line, or a .csv with a column `user`, and `label` if you like.",
)
@click.option("--service", is_flag=True, help="Make a key that may act for any user.")
@click.option("--label", default="", help="What you will know the key by in the list.")
@click.option("--format", "format", type=click.Choice(_FORMATS), help="How several are printed. [default: csv]")
@store_option
def create(
    users: tuple[str, ...], path: Path | None, service: bool, label: str, format: str | None, store: str | None
) -> None:
    """Make a key, and print its secret, alone on standard output. It is shown this once.

    The user need not have an adapter yet. For several users, all keys are made or none, and printed with their users
    and ids.

    \b
      sharedllm keys create --user alice
      sharedllm keys create --file users.txt > keys.csv
    """
    if sum((bool(users), path is not None, service)) != 1:
        raise InvalidInput(
            "A key is either a user's or a service's", remedy="Give --user USER, or --service, or --file FILE."
        )
    check_distinct(users, "--user")
    holders: list[tuple[str | None, str]] = [(user, label) for user in users] or [(None, label)]
    if path is not None:
        holders = list(_read_holders(path, label))
    with _open(store) as keys:
        made = keys.create_many(holders)
        try:
            _show(made, format or ("csv" if path is not None or len(made) > 1 else None))
        except OSError as error:
            # Nobody has seen the secrets, or not all of them.
            for _, key in made:
                keys.revoke(key.id)
            raise InvalidInput(
                f"The secrets could not be written out ({error.strerror}), and the keys were revoked",
                remedy="Make them again where there is room.",
            ) from None


@command.command("list")
@store_option
@json_option
def list_keys(store: str | None, as_json: bool) -> None:
    """Show every key, oldest first, and never a secret."""
    with _open(store) as keys:
        everything = list(keys.all())
    if as_json:
        print_json([asdict(key) for key in everything])
        return
    if not everything:
        click.echo("No keys yet. Make one: " + printable(as_given("sharedllm keys create --user alice")))
        return
    print_table(
        ("ID", "SPEAKS FOR", "MADE", "STATE", "LABEL"),
        (
            (
                key.id,
                "any user" if key.user is None else f"user {key.user}",
                key.created_at.astimezone().strftime("%Y-%m-%d %H:%M"),
                "good" if key.revoked_at is None else "revoked",
                key.label,
            )
            for key in everything
        ),
    )


@command.command()
@click.argument("id")
@store_option
def revoke(id: str, store: str | None) -> None:
    """Let the key ID open nothing any more. A running server refuses it from its next request on."""
    with _open(store) as keys:
        keys.revoke(id)
    click.echo(f"Key {id} is revoked.")


def _show(made: "list[tuple[str, Key]]", format: str | None) -> None:
    if format is None:
        ((secret, key),) = made
        whose = "any user" if key.user is None else printable(key.user)
        click.echo(f"Key {key.id} speaks for {whose}. Keep its secret; it cannot be shown again:", err=True)
        click.echo(secret)
    else:
        click.echo(f"{len(made):,} keys made. Keep their secrets; they cannot be shown again:", err=True)
        click.echo(as_csv(made) if format == "csv" else _as_json_lines(made), nl=False)


def _open(store: str | None) -> "Keys":
    from sharedllm.store import open_keys

    return open_keys(store)


def _read_holders(path: Path, label: str) -> list[tuple[str, str]]:
    """Users and the labels of their keys, from a file of one user a line, or of CSV if it is called so.

    Raises:
        InvalidInput: the file cannot be read, or see `key_lists`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}", remedy="Give a file of UTF-8 text.") from None
    if path.suffix.lower() == ".csv":
        return holders_of_table(text, str(path), label)
    return holders_of_lines(text, str(path), label)


def _as_json_lines(made: Sequence[tuple[str, "Key"]]) -> str:
    """Keys and their secrets, a JSON object a line."""
    return "".join(
        json.dumps(dict(zip(COLUMNS, (key.user, key.id, key.label, secret), strict=True))) + "\n"
        for secret, key in made
    )
