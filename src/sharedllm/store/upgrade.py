"""Bring a database's tables to the newest schema."""

import sqlalchemy as sa

from sharedllm.errors import CorruptStore, StoreError
from sharedllm.store.schema import HEAD


def upgrade(reading: sa.Engine, writing: sa.Engine) -> None:
    """Create or migrate the tables if they are not at `HEAD`, in one transaction.

    Raises:
        CorruptStore: the database holds tables, and they are not a store's.
        StoreError: a newer version of sharedllm made them.
    """
    with reading.connect() as connection:
        if _version(connection) == HEAD:
            return
    with writing.begin() as connection:
        # Asked again: another process may have migrated while this one waited for the lock.
        version = _version(connection)
        if version != HEAD:
            _migrate(connection, version)


def _version(connection: sa.Connection) -> str | None:
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise CorruptStore(
            f"{connection.engine.url.database} is a database of something else: it holds {', '.join(tables[:3])}",
            remedy="Name another file for the store.",
        )
    version: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return version


def _migrate(connection: sa.Connection, version: str | None) -> None:
    # Imported here because it takes longer than everything else a short command does.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "sharedllm.store:migrations")
    config.attributes["connection"] = connection
    if version is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(version)
        except CommandError:
            raise StoreError(
                f"{connection.engine.url.database} has schema {version!r}, unknown to this version of sharedllm",
                remedy="Use the newer version of sharedllm that made it.",
            ) from None
    command.upgrade(config, "head")
