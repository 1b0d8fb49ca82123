"""How many people a store has, counted as often as that is worth, and not whenever somebody asks."""

import threading
import time
from collections.abc import Callable

from sharedllm.store.contract import Headcount

REST = 20
"""Times as long as a count took, before the next: pages that are left open cost a database a twentieth of its time."""


class Headcounts:
    """Safe to use from several threads."""

    def __init__(self, count: Callable[[], Headcount], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is counted yet.

        Args:
            count: looks at everybody.
            clock: seconds.
        """
        self._count, self._clock = count, clock
        self._lock = threading.Lock()
        self._found: Headcount | None = None
        self._until = 0.0

    def latest(self) -> Headcount:
        """What was counted last, or now if that is long enough ago.

        Raises:
            StoreError: the store does not answer.
        """
        with self._lock:
            began = self._clock()
            if self._found is None or began >= self._until:
                self._found = self._count()
                ended = self._clock()
                self._until = ended + REST * (ended - began)
            return self._found
