"""An issuer's public keys: which of them may have signed a token, from a file or fetched and kept.

A key says of which type it is, and need not say with which algorithm it signs (RFC 7517, 4.4): then any that fits its
type may have been used, as far as the operator allows it. No type fits an algorithm with a shared secret.
"""

import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from sharedllm.errors import InvalidInput, ServingError
from sharedllm.strict_json import read_strictly

FETCH_SECONDS = 5.0
"""For a whole fetch, and so the longest that anybody waits for one."""
FRESH_SECONDS = 300.0
"""After which what was fetched is fetched again."""
AGAIN_SECONDS = 10.0
"""From the end of one fetch to the next that a key asks for which nobody knows, or that had failed."""
SET_BYTES = 1024**2

_FITTING: Mapping[tuple[str, str | None], Sequence[str]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
"""Key types and curves to the algorithms that they can verify."""
_PUBLIC = ("kty", "crv", "n", "e", "x", "y")
"""What a key is made from. Some files also hold the private half, which verifies nothing."""


@dataclass(frozen=True)
class PublicKey:
    """One key.

    Attributes:
        kid: its name; None if it has none.
        algorithms: what it can verify.
        key: as `jwt.decode` takes it.
    """

    kid: str | None
    algorithms: Sequence[str]
    key: Any


class KeySet:
    """Keys that are there once and for all."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._keys = keys

    def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The one key of that name that can verify that algorithm; for a token that names none, of those without.

        Raises:
            ServingError: it may well exist, but the keys cannot be fetched.
        """
        found = [key for key in self._keys if key.kid == kid and algorithm in key.algorithms]
        return found[0].key if len(found) == 1 else None

    def coming(self, kid: str | None, algorithm: str) -> "Future[None] | None":
        """What is worth waiting for, for `FETCH_SECONDS` at most, before `find`; None if nothing is."""
        return None


class FetchedKeys(KeySet):
    """The keys at an address, safe to use from several threads.

    One thread of its own fetches them, one fetch at a time, so that an issuer who does not answer holds nobody up but
    whoever's key is not known, and those for no longer than `FETCH_SECONDS`. What was fetched once is used for as long
    as the issuer cannot be reached.
    """

    def __init__(self, address: str) -> None:
        """Fetches nothing yet."""
        super().__init__(())
        self._address = address
        self._lock = threading.Lock()
        self._under_way: Future[None] | None = None
        # When the last fetch ended, when the last one succeeded, and whether those are the same.
        self._ended = self._fetched = -float("inf")
        self._away = True

    def find(self, kid: str | None, algorithm: str) -> Any | None:
        found = super().find(kid, algorithm)
        if found is None and (self._away or self._under_way is not None):
            raise ServingError("The issuer's public keys cannot be fetched", remedy="Try again in a moment.")
        return found

    def coming(self, kid: str | None, algorithm: str) -> "Future[None] | None":
        now = time.monotonic()
        known = KeySet.find(self, kid, algorithm) is not None
        if known and now - self._fetched < FRESH_SECONDS:
            return None
        with self._lock:
            if self._under_way is None:
                if now - self._ended < AGAIN_SECONDS:
                    return None
                self._under_way = Future()
                # So that nobody who stops waiting cancels it for the others.
                self._under_way.set_running_or_notify_cancel()
                threading.Thread(target=self._fetch, args=(self._under_way,), name="jwks", daemon=True).start()
            # Whoever's key is known need not wait for an issuer who was away the last time.
            return None if known and self._away else self._under_way

    def _fetch(self, under_way: "Future[None]") -> None:
        keys: Sequence[PublicKey] = ()
        try:
            keys = parse(_read(self._address))
        except Exception:
            # Whatever it was, the keys that are known stay, and whoever waits is let go.
            keys = ()
        with self._lock:
            self._ended = time.monotonic()
            self._away = not keys
            if keys:
                self._keys, self._fetched = keys, self._ended
            self._under_way = None
        under_way.set_result(None)


def keys_in(path: str) -> KeySet:
    """The keys of a file.

    Raises:
        InvalidInput: it holds none, or cannot be read.
    """
    try:
        keys = parse(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path!r} holds no public keys: {error}", remedy="Give a JWKS file.") from None
    if not keys:
        raise InvalidInput(
            f"{path!r} holds no public keys that can verify a signature",
            remedy="Give a JWKS file of RSA, EC or OKP keys.",
        )
    return KeySet(keys)


def parse(data: bytes) -> Sequence[PublicKey]:
    """The keys of a JWK Set that can verify signatures; others are passed over.

    Raises:
        ValueError: that is not a JWK Set.
    """
    whole = read_strictly(data)
    members = whole.get("keys") if isinstance(whole, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK Set")
    return [key for member in members if isinstance(member, dict) and (key := _key(member)) is not None]


def _key(member: dict[str, Any]) -> PublicKey | None:
    kind, operations = member.get("kty"), member.get("key_ops")
    for_signatures = member.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )
    fitting = _FITTING.get((str(kind), None if kind == "RSA" else str(member.get("crv"))), ())
    algorithms = [each for each in fitting if member.get("alg") in (None, each)]
    kid = member.get("kid")
    if not (for_signatures and algorithms and (kid is None or isinstance(kid, str))):
        return None
    try:
        public = {name: member[name] for name in _PUBLIC if name in member}
        return PublicKey(kid, algorithms, jwt.PyJWK(public, algorithms[0]).key)
    except (jwt.PyJWTError, TypeError, ValueError):
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _read(address: str) -> bytes:
    until = time.monotonic() + FETCH_SECONDS
    data = b""
    with urllib.request.build_opener(_NoRedirects()).open(address, timeout=FETCH_SECONDS) as response:
        while piece := response.read1(65536):
            data += piece
            if len(data) > SET_BYTES or time.monotonic() > until:
                raise ValueError("too large, or too slow")
    return data
