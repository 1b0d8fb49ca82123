"""How often one user may change what there is of them: some changes at once, and then so many an hour."""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

from sharedllm.errors import RateLimited

WRITES = 20
WRITES_PER_HOUR = 60
ERASURE = 5
"""What an erasure counts for: a store on a file is rewritten for it, as long as that is."""
_TIDY = 4096


class Quotas:
    """A bucket of changes for every user, safe to use from several threads.

    Users are known by a hash under a key of this object's own: an erasure leaves their bucket as it is, or whoever
    comes back after each would never run out, and leaves nothing in it that tells who they were.
    """

    def __init__(self, at_once: int, per_hour: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Every bucket is full.

        Args:
            at_once: changes that a full bucket holds.
            per_hour: changes that come back to it in an hour.
            clock: seconds that only rise.
        """
        # Whatever is set, somebody can be erased.
        self._size, self._rate = max(at_once, ERASURE), per_hour / 3600
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        # What was left, and when.
        self._buckets: dict[bytes, tuple[float, float]] = {}

    def charge(self, user: str, changes: int = 1) -> None:
        """Take changes out of a user's bucket.

        Raises:
            RateLimited: there are not as many in it.
        """
        who = hashlib.blake2b(user.encode(), key=self._key, digest_size=16).digest()
        with self._lock:
            now = self._clock()
            left, since = self._buckets.get(who, (self._size, now))
            left = min(self._size, left + (now - since) * self._rate)
            if left < changes:
                raise RateLimited(
                    f"{user!r} has sent more uploads, trainings and erasures than one user may at once",
                    remedy=f"Wait: {3600 * self._rate:g} may come in an hour, and an erasure counts as {ERASURE}.",
                    retry_after=(changes - left) / self._rate,
                )
            self._buckets[who] = left - changes, now
            if len(self._buckets) > _TIDY:
                self._tidy(now)

    def _tidy(self, now: float) -> None:
        full_after = self._size / self._rate
        self._buckets = {who: one for who, one in self._buckets.items() if now - one[1] < full_after}
