"""One way in, whatever the store is."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sharedllm.cache import data_dir
from sharedllm.errors import InvalidInput, MasterKeyError, StoreError, UnknownName
from sharedllm.files import private_folder
from sharedllm.store.contract import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from sharedllm.store.encryption.custody import Custody
    from sharedllm.store.keys import Keys
    from sharedllm.store.sql.database import Database
from contextlib import closing
from itertools import islice
from typing import Any

import sqlalchemy as sa

from sharedllm.store.encryption.master_key import master_key_file
from sharedllm.store.encryption.sealing import check_vault
from sharedllm.store.encryption.vault import Vault, vault_file
from sharedllm.store.sql.database import ROWS_PER_PAGE
from sharedllm.store.sql.schema import users, vaults

Kind = TypeVar("Kind")

ENVIRONMENT_VARIABLE = "SHAREDLLM_STORE"
MEMORY = ":memory:"


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
    address = _address(where)
    if address == MEMORY:
        from sharedllm.store.memory import MemoryStore

        return MemoryStore()
    from sharedllm.store.sql.store import SQLStore

    return _opened(address, SQLStore)


def open_keys(where: str | Path | None = None) -> "Keys":
    """Open the API keys that are kept beside a store, creating an empty store where there is none.

    Args:
        where: as for `open_store`.

    Raises:
        InvalidInput: ``":memory:"``, where keys would be gone with the process.
        UnknownName, StoreError: see `open_store`.
    """
    address = _address(where)
    if address == MEMORY:
        raise InvalidInput("API keys cannot be kept in memory", remedy="Name a file or a database for the store.")
    from sharedllm.store.keys import Keys

    return _opened(address, Keys)


def open_database(where: str | Path | None = None) -> "Database":
    """The database of a store as it is, whether or not what is in it can be opened.

    Args:
        where: as for `open_store`.

    Raises:
        InvalidInput: ``":memory:"``.
        UnknownName, StoreError: see `open_store`.
    """
    address = _address(where)
    if address == MEMORY:
        raise InvalidInput("A store in memory has no database", remedy="Name a file or a database for the store.")
    return _database(address)


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

    address = _address(where)
    if address == MEMORY or "://" in address:
        raise InvalidInput(
            f"The store {store_name(where)} is not in a file, and nothing tells that it went back",
            remedy="Name a store in a file.",
        )
    files = [Path(address)]
    if (os.environ.get(MASTER_KEY) or os.environ.get(VAULT)) and vault_file().is_file():
        files.append(vault_file())
    return [(file, *accept(file)) for file in files]


def store_name(where: str | Path | None = None) -> str:
    """What to call a store on a screen: its file, or its address without the password.

    Raises:
        InvalidInput: an address that cannot be read.
    """
    address = _address(where)
    if not address.startswith("postgresql://"):
        return address
    from sharedllm.store.sql.postgres import parsed, shown

    return shown(parsed(address))


def _address(where: str | Path | None) -> str:
    return str(where or os.environ.get(ENVIRONMENT_VARIABLE) or _default_file()).removeprefix("sqlite:///")


def _opened(address: str, kind: "Callable[[Database, Custody], Kind]") -> "Kind":
    database = _database(address)
    try:
        return kind(database, _custody(database))
    except StoreError:
        database.close()
        raise


def _custody(database: "Database") -> "Custody":
    import sqlalchemy as sa

    from sharedllm.store.sql.schema import vaults

    found = database.find(sa.select(vaults), {})
    if found:
        from sharedllm.store.encryption.sealing import open_sealed

        return open_sealed(database, found[0])
    from sharedllm.store.encryption.custody import Plain
    from sharedllm.store.encryption.master_key import ENVIRONMENT_VARIABLE as MASTER_KEY

    if os.environ.get(MASTER_KEY):
        from sharedllm.store.encryption.vault import vault_file

        # Whoever could take the mark of encryption from a store could otherwise put rows of their own making in it.
        if vault_file().is_file():
            raise MasterKeyError(
                f"The store is not encrypted, and there is a vault for one that is: {vault_file()}",
                remedy=f"Run `sharedllm store encrypt`, or unset {MASTER_KEY} to use a store that is not encrypted.",
            )
    return Plain()


def _database(address: str) -> "Database":
    scheme, separator, _ = address.partition("://")
    if scheme == "postgresql" and separator:
        from sharedllm.store.sql.postgres import Postgres

        return Postgres(address)
    if separator:
        raise UnknownName(
            f"There is no store for {scheme}:// addresses",
            remedy="Give a file, or postgresql://user:password@host/database.",
        )
    if not address:
        raise InvalidInput("The address of the store names no file", remedy="Give one: sqlite:///store.db")
    from sharedllm.store.sql.sqlite import SQLite

    return SQLite(address)


def _default_file() -> Path:
    folder = data_dir()
    try:
        private_folder(folder)
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}", remedy="Name a file for the store elsewhere."
        ) from None
    return folder / "store.db"


def standing(where: str | Path | None) -> dict[str, Any]:
    """How a store is kept.

    Args:
        where: as for `open_store`.

    Returns:
        ``encrypted``: ``"no"``, ``"yes"`` or ``"in part"``; and unless it is not, the ``vault``'s file, how many users
        have ``keys`` there, how many have ``users`` rows in the store, and how many of those have no key: they are
        being erased, or the vault is older than they are.

    Raises:
        MasterKeyError, StoreError: see `open_store`.
    """
    with closing(open_database(where)) as database:
        kept = database.find(sa.select(vaults), {})
        if not kept:
            return {"encrypted": "no"}
        with closing(Vault(vault_file(), master_key_file())) as vault:
            check_vault(vault, kept[0])
            rows, opened, total = database.rows(users), 0, 0
            while page := list(islice(rows, ROWS_PER_PAGE)):
                total += len(page)
                opened += len(vault.at([row.id_sha256 for row in page]))
            return {
                "encrypted": "yes" if kept[0].complete else "in part",
                "vault": str(vault.path),
                "keys": vault.count(),
                "users": total,
                "without_a_key": total - opened,
            }
