"""`sharedllm keys`: who may use the API, and as whom."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.errors import InvalidInput
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.store.keys import Keys


@click.group()
def command() -> None:
    """Create, list and revoke API keys.

    A user's key speaks for that user alone. A service key may act for any user it names, so keep it on your own
    servers. Keys are kept beside the adapters, as hashes: a lost key cannot be read back, only replaced.
    """


@command.command()
@click.option("--user", metavar="USER", help="Whom the key speaks for. They need not have an adapter yet.")
@click.option("--service", is_flag=True, help="Make a key that may act for any user.")
@click.option("--label", default="", help="What you will know the key by in the list.")
@store_option
def create(user: str | None, service: bool, label: str, store: str | None) -> None:
    """Make a key, and print its secret, alone on standard output. It is shown this once."""
    if (user is not None) == service:
        raise InvalidInput("A key is either a user's or a service's", remedy="Give --user USER, or --service.")
    with _open(store) as keys:
        secret, key = keys.create(user=user, label=label)
    whose = "any user" if key.user is None else printable(key.user)
    click.echo(f"Key {key.id} speaks for {whose}. Keep its secret; it cannot be shown again:", err=True)
    click.echo(secret)


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
        click.echo("No keys yet. Make one: sharedllm keys create --user alice")
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


def _open(store: str | None) -> "Keys":
    from sharedllm.store import open_keys

    return open_keys(store)
