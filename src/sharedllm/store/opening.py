"""One way in, whatever the store is."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sharedllm.errors import InvalidInput, MasterKeyError, StoreError
from sharedllm.store.address import MEMORY, address_of, database_at, store_name
from sharedllm.store.contract import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sharedllm.store.api_keys import Keys
    from sharedllm.store.sql.database import Database
    from sharedllm.store.sql.protection import Protection

Kind = TypeVar("Kind")


def open_store(where: str | Path | Store | None = None) -> Store:
    """Open a store, creating an empty one where there is none.

    Args:
        where: a file, ``"sqlite:///file"``, ``"postgresql://user:password@host/database"``, ``":memory:"`` for one
            that lasts as long as the process, or a store, which is returned as it is. None means the environment
            variable ``SHAREDLLM_STORE``, else a file in the user's own data folder.

    Raises:
        UnknownName: an address of a database that is not supported.
        InvalidInput: an address that cannot be read.
        StoreError: the database cannot be opened, is damaged, or was made by a newer version.
        MasterKeyError: it is encrypted, and its vault or the master key is missing, or another one; or it is not, and
            a vault is named.
    """
    if isinstance(where, Store):
        return where
    address = address_of(where)
    if address == MEMORY:
        from sharedllm.store.memory import MemoryStore

        return MemoryStore()
    from sharedllm.store.sql.sql_store import SQLStore

    return _opened(address, SQLStore)


def open_keys(where: str | Path | None = None) -> "Keys":
    """Open the API keys that are kept beside a store, creating an empty store where there is none.

    Args:
        where: as for `open_store`.

    Raises:
        InvalidInput: ``":memory:"``, where keys would be gone with the process.
        UnknownName, StoreError: see `open_store`.
    """
    address = address_of(where)
    if address == MEMORY:
        raise InvalidInput("API keys cannot be kept in memory", remedy="Name a file or a database for the store.")
    from sharedllm.store.api_keys import Keys

    return _opened(address, Keys)


def accept_store(where: str | Path | None = None) -> "list[tuple[Path, int, int]]":
    """Take a store, and its vault if there is one, as they are, also if they went back to an earlier state.

    Args:
        where: as for `open_store`.

    Returns:
        each file, how many changes it holds, and how many had been confirmed; 0 where that is not known.

    Raises:
        InvalidInput: the store is not in a file.
        StoreError: a file cannot be opened, or is damaged.
    """
    from sharedllm.store.encryption.master_key import ENVIRONMENT_VARIABLE as MASTER_KEY
    from sharedllm.store.encryption.vault import ENVIRONMENT_VARIABLE as VAULT
    from sharedllm.store.encryption.vault import vault_file
    from sharedllm.store.sql.sqlite import accept

    address = address_of(where)
    if address == MEMORY or "://" in address:
        raise InvalidInput(
            f"The store {store_name(where)} is not in a file, and nothing tells that it went back",
            remedy="Name a store in a file.",
        )
    files = [Path(address)]
    if (os.environ.get(MASTER_KEY) or os.environ.get(VAULT)) and vault_file().is_file():
        files.append(vault_file())
    return [(file, *accept(file)) for file in files]


def _opened(address: str, kind: "Callable[[Database, Protection], Kind]") -> "Kind":
    database = database_at(address)
    try:
        return kind(database, _protection(database))
    except StoreError:
        database.close()
        raise


def _protection(database: "Database") -> "Protection":
    import sqlalchemy as sa

    from sharedllm.store.sql.schema import vaults

    found = database.find(sa.select(vaults), {})
    if found:
        from sharedllm.store.encryption.sealing import open_sealed

        return open_sealed(database, found[0])
    from sharedllm.store.encryption.master_key import ENVIRONMENT_VARIABLE as MASTER_KEY
    from sharedllm.store.sql.protection import Plain

    if os.environ.get(MASTER_KEY):
        from sharedllm.store.encryption.vault import vault_file

        # Whoever could take the mark of encryption from a store could otherwise put rows of their own making in it.
        if vault_file().is_file():
            raise MasterKeyError(
                f"The store is not encrypted, and there is a vault for one that is: {vault_file()}",
                remedy=f"Run `sharedllm store encrypt`, or unset {MASTER_KEY} to use a store that is not encrypted.",
            )
    return Plain()
