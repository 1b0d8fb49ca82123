"""Bodies that will change what there is of a user, while they arrive: an erasure that is asked for meanwhile wins.

A body may take half a minute. Whoever sends it was let in before that, and it must not bring back what a receipt says
is gone.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sharedllm.errors import ErasedMeanwhile
from sharedllm.holder import Derived, Holder, Removed
from sharedllm.http.error_responses import Refused
from sharedllm.store import Stay, Store
from sharedllm.text.choices import Choices


@dataclass(frozen=True)
class Files:
    """What somebody sent to be read by the training itself.

    Attributes:
        data: one file's bytes; of several a ZIP archive's.
        choices: how it is read.
    """

    data: bytes = field(repr=False)
    choices: Choices


@dataclass(eq=False)
class Arrival:
    """One body on its way.

    Attributes:
        user: whom it is to change.
        stay: in which the body began.
        void: whether their erasure was asked for here since then.
        landing: whether it is being acted on.
    """

    user: str
    stay: Stay | None = None
    void: bool = False
    landing: bool = False


class Arrivals(Holder):
    """All that are on their way to one store, safe to use from several threads."""

    holds = "uploads"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arrivals: set[Arrival] = set()
        self._changed = threading.Condition()

    @contextmanager
    def expecting(self, user: str) -> Iterator[Arrival]:
        """Stand around reading a body that is to change ``user``, and acting on it. Asks the store, and so blocks.

        Raises:
            StoreError: the store does not answer.
        """
        arrival = Arrival(user)
        with self._changed:
            self._arrivals.add(arrival)
        try:
            arrival.stay = self._store.begin([user])[user]
            yield arrival
        finally:
            with self._changed:
                self._arrivals.remove(arrival)

    @contextmanager
    def landing(self, arrival: Arrival) -> Iterator[None]:
        """Stand around acting on a body that was read. Reads the store, and so blocks.

        Raises:
            Refused: the user's erasure was asked for here since it began, or another process erased them.
            StoreError: the store does not answer.
        """
        with self._changed:
            arrival.landing = not arrival.void
        try:
            if arrival.void or (arrival.stay is not None and self._store.erased_since([arrival.stay])):
                raise _erased()
            yield
        except ErasedMeanwhile:
            raise _erased() from None
        finally:
            with self._changed:
                arrival.landing = False
                self._changed.notify_all()

    @contextmanager
    def stopping(self, user: str) -> Iterator[None]:
        """Let nothing land any more of what is on its way to a user.

        What is landing has landed when the block begins, and so is there for the erasure to find.
        """
        with self._changed:
            theirs = self._of(user)
            for arrival in theirs:
                arrival.void = True
            self._changed.wait_for(lambda: not any(arrival.landing for arrival in theirs))
        yield

    def forget(self, user: str) -> list[Removed | Derived]:
        """See `Holder.forget`. What is on its way is read to its end, as it has to be answered, and dropped then."""
        with self._changed:
            void = sum(arrival.void for arrival in self._of(user))
        return [Removed("uploads on their way", "server", void)] if void else []

    def _of(self, user: str) -> list[Arrival]:
        return [arrival for arrival in self._arrivals if arrival.user == user]


def _erased() -> Refused:
    return Refused(
        410,
        "erased",
        "An erasure of the user began while the body arrived",
        remedy="Send it again if they are to have it all the same.",
    )
