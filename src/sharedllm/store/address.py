"""Where a store is: a file, a database's address, or memory, and its database as it is."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.cache_folder import data_dir
from sharedllm.errors import InvalidInput, StoreError, UnknownName
from sharedllm.files import private_folder

if TYPE_CHECKING:
    from sharedllm.store.sql.database import Database

ENVIRONMENT_VARIABLE = "SHAREDLLM_STORE"
MEMORY = ":memory:"


def open_database(where: str | Path | None = None) -> "Database":
    """The database of a store as it is, whether or not what is in it can be opened.

    Args:
        where: as for `open_store`.

    Raises:
        InvalidInput: ``":memory:"``.
        UnknownName, StoreError: see `open_store`.
    """
    address = address_of(where)
    if address == MEMORY:
        raise InvalidInput("A store in memory has no database", remedy="Name a file or a database for the store.")
    return database_at(address)


def store_name(where: str | Path | None = None) -> str:
    """What to call a store on a screen: its file, or its address without the password.

    Raises:
        InvalidInput: an address that cannot be read.
    """
    address = address_of(where)
    if not address.startswith("postgresql://"):
        return address
    from sharedllm.store.sql.postgres import parsed, shown

    return shown(parsed(address))


def address_of(where: str | Path | None) -> str:
    """What was named, or the default, without the scheme of a file."""
    return str(where or os.environ.get(ENVIRONMENT_VARIABLE) or _default_file()).removeprefix("sqlite:///")


def store_is_there(where: str | Path | None = None) -> bool:
    """Whether there is a store to open, and not one to create; of a database that is assumed. Nothing is made.

    Args:
        where: as for `open_store`.
    """
    named = str(where or os.environ.get(ENVIRONMENT_VARIABLE) or _default_path()).removeprefix("sqlite:///")
    return "://" in named or Path(named).exists()


def database_at(address: str) -> "Database":
    """Open the database at an address that `address_of` gave.

    Raises:
        UnknownName, InvalidInput, StoreError: see `open_store`.
    """
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


def _default_path() -> Path:
    return data_dir() / "store.db"


def _default_file() -> Path:
    folder = data_dir()
    try:
        private_folder(folder)
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}", remedy="Name a file for the store elsewhere."
        ) from None
    return _default_path()
