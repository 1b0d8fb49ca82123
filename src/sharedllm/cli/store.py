"""`sharedllm store`: encryption of what the store holds, and the key that opens it."""

from typing import TYPE_CHECKING

import click

from sharedllm.cli.options import json_option, store_option
from sharedllm.cli.printing import print_json, print_table
from sharedllm.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable


@click.group()
def command() -> None:
    """Encrypt what the store holds, and change the key that opens it.

    Every user gets a key of their own, kept in a vault beside the store and wrapped by a master key. Erasing a user
    destroys their key, and with it what backups of the store hold of them. Back the vault up apart from the store, and
    for no longer than an erasure may take.

    \b
      export SHAREDLLM_MASTER_KEY_FILE=~/.sharedllm/master.key
      sharedllm store init-key
      sharedllm store encrypt
    """


@command.command("init-key")
def init_key() -> None:
    """Make a master key in the file that SHAREDLLM_MASTER_KEY_FILE names. Who loses it loses everything."""
    from sharedllm.store.encryption.master_key import master_key_file, write_master_key

    path = master_key_file()
    write_master_key(path)
    click.echo(f"A master key is in {printable(str(path))}. Keep a copy where neither the store nor its backups are.")


@command.command()
@store_option
def encrypt(store: str | None) -> None:
    """Encrypt the store where it is. Stop everything else that uses it first.

    Interrupted, it goes on with the next call; until it is done nobody can open the store.
    """
    from sharedllm.store.encryption.migrate import encrypt_store

    done = encrypt_store(store, _counting())
    click.echo(f"Users encrypted: {done:,}. Backups made before are not: delete them.")
    if _is_postgresql(store):
        click.echo(
            "The server's files keep what was there before until VACUUM FULL; its log, for as long as it is kept."
        )


@command.command("rotate-key")
@store_option
def rotate_key(store: str | None) -> None:
    """Put a new master key in the place of the old one. Running servers read it by themselves.

    Users' keys are wrapped anew, and what is encrypted with them stays as it is. The old key opens only copies of the
    vault that were made before, so destroy those or it.
    """
    from sharedllm.store.encryption.rotation import rotate_master_key

    click.echo(f"Users' keys under the new master key: {rotate_master_key(store):,}.")


@command.command()
@store_option
@json_option
def status(store: str | None, as_json: bool) -> None:
    """Show whether the store is encrypted, with which vault, and whether all in it can be opened."""
    from sharedllm.store.encryption.migrate import encryption_state

    found = encryption_state(store)
    if as_json:
        print_json(found)
    else:
        print_table(None, ((name.replace("_", " "), str(value)) for name, value in found.items()))


@command.command()
@store_option
def accept(store: str | None) -> None:
    """Take the store's file, and the vault's, as they are, after they went back to an earlier state.

    A store that holds less than it had confirmed is refused: its log was lost or damaged, or somebody put an older
    file in its place. What is missing is gone then: look for revocations, erasures and API keys that have to be done
    again.
    """
    from sharedllm.store.opening import accept_store

    for path, found, noted in accept_store(store):
        lost = f" {noted - found:,} that had been confirmed are lost." if noted > found else ""
        click.echo(f"{printable(str(path))} is taken as it is, with {found:,} changes.{lost}")


def _counting() -> "Callable[[int], None]":
    def progress(done: int) -> None:
        if done % 1000 == 0:
            click.echo(f"{done:,} users…", err=True)

    return progress


def _is_postgresql(store: str | None) -> bool:
    from sharedllm.store.address import store_name

    return store_name(store).startswith("postgresql://")
