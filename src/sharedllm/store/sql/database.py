"""What a database must do for the tables in it: run work in transactions, and see that deleted bytes really go."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

ROWS_PER_PAGE = 500

SqlRow = sa.Row[*tuple[Any, ...]]
Result = TypeVar("Result")
Work = Callable[[sa.Connection], Result]


class Database(ABC):
    """One database, safe to use from several threads. Its own errors come out as a `StoreError` or one of its kinds.

    Work is a function of a connection, so that it can be run again when the connection is lost: it must have no effect
    but through the connection.
    """

    # The dialect's own, which can say what to do about a row that is there already.
    insert: Callable[[sa.Table], Any]
    # What to do about traces that `scrub` could not remove.
    scrubbed_by: str

    @abstractmethod
    def contains(self, column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
        """That a column has a text in it, both as `rules.folded` makes them."""

    @abstractmethod
    def find(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[SqlRow]:
        """The rows that one statement finds."""

    @abstractmethod
    def read(self, work: Work[Result]) -> Result:
        """Run ``work`` on one consistent state of the tables. It waits for nobody who writes."""

    def rows(self, table: sa.Table, *, after: int = 0, select: sa.Select[Any] | None = None) -> Iterator[SqlRow]:
        """The rows of ``table`` whose ``key`` is above ``after``, by that key, read as the iterator advances.

        A page at a time: a transaction that a slow reader left open would keep erased rows in the files.

        Args:
            table: has a ``key``.
            after: 0 is below every key.
            select: what to find instead of whole rows; at most one row for each key, which is among its columns.
        """
        found_by = sa.select(table) if select is None else select
        page = found_by.where(table.c.key > sa.bindparam("last")).order_by(table.c.key).limit(ROWS_PER_PAGE)

        last = after
        while found := self.find(page, {"last": last}):
            yield from found
            last = found[-1].key

    @abstractmethod
    def write(self, work: Work[Result], *, settle: bool = False) -> Result:
        """Run ``work`` in a transaction, entirely or not at all. Once this returns it survives a crash.

        Args:
            work: what to do.
            settle: it takes something from somebody, such as a revocation: it is to hold also if a file's log is lost.
        """

    @abstractmethod
    def number_changes(self, connection: sa.Connection) -> None:
        """Have rows inserted from now on until the caller's transaction ends numbered in the order in which they show.

        Who reads a number must never be shown a lower one later. The caller changes no more rows of users afterwards.
        """

    @abstractmethod
    def hold_off_writers(self, connection: sa.Connection) -> None:
        """Let nobody else change users or API keys until the caller's transaction ends; wait for those who do."""

    @abstractmethod
    def mark_for_scrubbing(self, connection: sa.Connection) -> None:
        """Note, within the caller's transaction, that deleted rows have still to be scrubbed from the files."""

    @abstractmethod
    def scrub(self) -> None:
        """Remove what was deleted from the files, if anything was marked.

        Raises:
            StoreError: that cannot be done now; the mark stays, and the next opening tries again.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections. Closing twice is safe."""
