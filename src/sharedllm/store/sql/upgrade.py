"""Bring a database's tables to the newest schema."""

import sqlalchemy as sa

from sharedllm.errors import CorruptStore, StoreError
from sharedllm.store.sql.schema import HEAD


def version(connection: sa.Connection) -> str | None:
    """The schema that the database is at; None if it holds no tables.

    Raises:
        CorruptStore: it holds tables, and they are not a store's.
    """
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise CorruptStore(
            f"{connection.engine.url.database} is a database of something else: it holds {', '.join(tables[:3])}",
            remedy="Name another file or database for the store.",
        )
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def migrate(connection: sa.Connection) -> None:
    """Create the tables, or bring them to `HEAD`, within the caller's transaction, which holds off other writers.

    Raises:
        CorruptStore: see `version`.
        StoreError: a newer version of sharedllm made them.
    """
    # Asked again: another process may have migrated while this one waited for the lock.
    found = version(connection)
    if found == HEAD:
        return
    # Imported here because it takes longer than everything else a short command does.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "sharedllm.store.sql:migrations")
    config.attributes["connection"] = connection
    if found is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(found)
        except CommandError:
            raise StoreError(
                f"{connection.engine.url.database} has schema {found!r}, unknown to this version of sharedllm",
                remedy="Use the newer version of sharedllm that made it.",
            ) from None
    command.upgrade(config, "head")
