"""One way in, whatever the store is."""

import os
from pathlib import Path

from sharedllm.cache import data_dir
from sharedllm.errors import StoreError, UnknownName
from sharedllm.store.contract import Store

ENVIRONMENT_VARIABLE = "SHAREDLLM_STORE"


def open_store(where: str | Path | Store | None = None) -> Store:
    """Open a store, creating an empty one where there is none.

    Args:
        where: a file, ``"sqlite:///file"``, ``":memory:"`` for one that lasts as long as the process, or a store, which
            is returned as it is. None means the environment variable ``SHAREDLLM_STORE``, else a file in the user's
            own data folder.

    Raises:
        UnknownName: an address of a database that is not supported.
        StoreError: the file cannot be opened, is damaged, or was made by a newer version.
    """
    if isinstance(where, Store):
        return where
    path = str(where or os.environ.get(ENVIRONMENT_VARIABLE) or _default_file()).removeprefix("sqlite:///")
    scheme, separator, _ = path.partition("://")
    if separator:
        raise UnknownName(
            f"There is no store for {scheme}:// addresses", remedy="Give a file, or sqlite:/// and a file's path."
        )
    if path == ":memory:":
        from sharedllm.store.memory import MemoryStore

        return MemoryStore()
    from sharedllm.store.sql import SQLStore

    return SQLStore(path)


def _default_file() -> Path:
    folder = data_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}", remedy="Name a file for the store elsewhere."
        ) from None
    return folder / "store.db"
