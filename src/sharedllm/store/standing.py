"""Whether a store is encrypted, and whether its vault opens all of it."""

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sharedllm.store.database import ROWS_PER_PAGE
from sharedllm.store.master import master_key_file
from sharedllm.store.opening import open_database
from sharedllm.store.schema import users, vaults
from sharedllm.store.sealing import check_vault
from sharedllm.store.vault import Vault, vault_file


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
