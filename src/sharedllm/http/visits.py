"""How the page is opened from a terminal with nothing to set up: a code that is good once, for a key of this process.

The code stands in the address's fragment, which browsers send to nobody, and the page takes it out of its history
before it sends it in a body. The key that it is given for it speaks for one user, is kept in memory alone, and is good
for twelve hours or until the process ends.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sharedllm.errors import UnknownKey
from sharedllm.store.api_keys import Key
from sharedllm.user_ids import check_user_id

SECONDS = 12 * 3600.0
CODE_BYTES = 32
FRAGMENT = "#code="
"""What stands before the code in the page's address."""


class Visits:
    """Keys of one user, each given for a code; safe to use from several threads."""

    def __init__(
        self, user: str, *, seconds: float = SECONDS, on_redeemed: Callable[[], object] = lambda: None
    ) -> None:
        """Nobody has a key yet.

        Args:
            user: whom every key speaks for.
            seconds: how long a key is good.
            on_redeemed: told that a code was used, so that there can be another.

        Raises:
            InvalidUserId: nobody can be called so.
        """
        self._user, self._seconds = check_user_id(user), seconds
        self._on_redeemed = on_redeemed
        self._lock = threading.Lock()
        self._code: bytes | None = None
        self._until: dict[bytes, float] = {}

    def code(self) -> str:
        """A new code. One that was not used is good no more."""
        code = secrets.token_urlsafe(CODE_BYTES)
        with self._lock:
            self._code = _hashed(code)
        return code

    def redeem(self, code: str) -> str:
        """The secret of a key, for a code that was not used yet.

        Raises:
            UnknownKey: it was, or there is no such code.
        """
        with self._lock:
            if self._code is None or not hmac.compare_digest(_hashed(code), self._code):
                raise UnknownKey(
                    "The code in this address was used already, or is not one",
                    remedy="Open the address that the terminal shows now.",
                )
            self._code = None
            secret = secrets.token_urlsafe(CODE_BYTES)
            self._until[_hashed(secret)] = time.monotonic() + self._seconds
        self._on_redeemed()
        return secret

    def not_opened(self) -> UnknownKey:
        """What whoever comes without a key is told."""
        return UnknownKey("Nobody is let in here without a key", remedy="Open the address that the terminal shows now.")

    def holder(self, secret: str) -> Key:
        """What a secret opens.

        Raises:
            UnknownKey: nothing, or nothing any more.
        """
        until = self._until.get(hashed := _hashed(secret))
        if until is None or time.monotonic() >= until:
            raise UnknownKey(
                "The key is not valid, or not any more", remedy="Open the address that the terminal shows."
            )
        return Key(hashed.hex()[:16], "user", self._user, "visit", datetime.now(UTC), None)


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
