"""Another master key in the place of the old one, which then opens nothing any more."""

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from sharedllm.errors import InvalidInput, MasterKeyError
from sharedllm.files import sync_folder
from sharedllm.store.address import open_database
from sharedllm.store.encryption.master_key import coming, master_key_file, write_master_key
from sharedllm.store.encryption.sealing import Sealed, check_vault
from sharedllm.store.encryption.vault import Vault, vault_file
from sharedllm.store.evidence.signing import signing_key
from sharedllm.store.sql.database import Database
from sharedllm.store.sql.protection import Note
from sharedllm.store.sql.schema import vaults


def rotate_master_key(where: str | Path | None) -> int:
    """Wrap every user's key with a new master key, and put that into the old one's file.

    What is encrypted stays as it is; processes that have the store open read the new key by themselves. Interrupted at
    any point, the same call goes on from there. The old key opens no vault but copies of it made before.

    Args:
        where: as for `open_store`.

    Returns:
        how many users' keys were wrapped anew.

    Raises:
        InvalidInput: the store is not encrypted.
        MasterKeyError: the master key or the vault is missing, or another store's. Nothing was written.
        StoreBusy, DiskFull: see `Vault.scrub`; the new key holds, and keys that the old one wrapped may still lie in
            the vault's file.
    """
    # A link stays one: what it leads to is replaced.
    master = master_key_file().resolve()
    new = coming(master)
    with closing(open_database(where)) as database:
        with closing(_opened(database, master, new)) as vault:
            if not new.exists():
                write_master_key(new)
            vault.rewrap(new)
            new.replace(master)
            sync_folder(master.parent)
        with closing(Vault(vault_file(), master)) as vault:
            vault.scrub()
            protection = Sealed(vault, database, signing_key())
            database.write(lambda connection: protection.note(connection, [Note("rotated")]))
            return vault.count()


def _opened(database: Database, master: Path, new: Path) -> Vault:
    kept = database.find(sa.select(vaults), {})
    if not kept:
        raise InvalidInput("The store is not encrypted", remedy="Encrypt it first: sharedllm store encrypt")
    try:
        vault = Vault(vault_file(), master)
    except MasterKeyError:
        # An interrupted rotation may have wrapped the keys with the new one, and not put it in its place yet.
        if not new.exists():
            raise
        vault = Vault(vault_file(), new)
    try:
        check_vault(vault, kept[0])
    except MasterKeyError:
        vault.close()
        raise
    return vault
