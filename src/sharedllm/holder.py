"""Whoever holds something of users: how each is asked to forget one of them, and what it says of that."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Removed:
    """How many of what were removed, and from where."""

    what: str
    where: str
    count: int


@dataclass(frozen=True)
class Derived:
    """What was made from many users' adapters, where it is, and what became of it: rebuilt without them, or dropped."""

    what: str
    where: str
    outcome: str


class Holder(ABC):
    """Whoever holds something of users, and can forget them.

    Attributes:
        holds: what; `operations.erase.HOLDERS` says after whom it forgets.
    """

    holds: ClassVar[str]

    @contextmanager
    def stopping(self, user: str) -> Iterator[None]:
        """End what would bring more of a user, before anything is removed, and take no more until the block is left."""
        yield

    def found(self, user: str) -> list[Removed | Derived]:
        """What `forget` is about to remove, as far as that can be told beforehand.

        It is noted before anything is removed: who is killed in between knows nothing of it any more.
        """
        return []

    @abstractmethod
    def forget(self, user: str) -> list[Removed | Derived]:
        """Remove all there is of a user, and say what that was. Whatever interrupts it, the same call goes on.

        Somebody of whom there is nothing is no error.
        """
