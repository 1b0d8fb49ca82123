"""JSON Web Tokens of an issuer that the operator trusts: a valid token speaks for the user in its ``sub``."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any
from urllib.parse import urlsplit

import jwt
from starlette.concurrency import run_in_threadpool

from sharedllm.errors import InvalidInput, InvalidUserId, NotAuthenticated
from sharedllm.http.jwks import FETCH_SECONDS, FetchedKeys, KeySet, keys_in
from sharedllm.user_ids import check_user_id

LEEWAY_SECONDS = 30
SECRET_BYTES = 32
SHARED = ("HS256", "HS384", "HS512")
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class JWT:
    """Verifies tokens. Which algorithms are allowed is the operator's choice, never the token's.

    A token must carry ``exp``, ``iss``, ``aud`` and ``sub``; half a minute of difference between clocks is allowed.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        secret: str | None = None,
        jwks: str | None = None,
        algorithms: Sequence[str] = (),
    ) -> None:
        """Say whose tokens are valid.

        Args:
            issuer: the ``iss`` a token must have.
            audience: what its ``aud`` must be or contain.
            secret: shared with the issuer; or else
            jwks: a file or an ``https://`` address of the issuer's public keys.
            algorithms: by default HS256 for a secret and every asymmetric one for public keys.

        Raises:
            InvalidInput: not exactly one of ``secret`` and ``jwks``, a secret of under 32 bytes, an algorithm of the
                other sort, or keys that cannot be read.
        """
        if (secret is None) == (jwks is None):
            raise InvalidInput(
                "Tokens are verified with a shared secret or with public keys",
                remedy="Give exactly one of the two.",
            )
        known = SHARED if secret is not None else PUBLIC
        self._algorithms = list(algorithms) or list(SHARED[:1] if secret is not None else PUBLIC)
        for algorithm in self._algorithms:
            if algorithm not in known:
                raise InvalidInput(
                    f"Tokens cannot be verified with {algorithm!r} here", remedy=f"Use {', '.join(known)}."
                )
        self._issuer = issuer
        self._audience = audience
        self._secret = None if secret is None else _checked(secret)
        self._public = None if jwks is None else _public(jwks)

    def subject(self, token: str) -> str:
        """The user that a token speaks for. Blocks while public keys are fetched, for `FETCH_SECONDS` at most.

        Raises:
            NotAuthenticated: the token is not valid; the message is the same whatever is wrong with it.
            ServingError: the issuer's public keys cannot be fetched.
        """
        coming = self._coming(token)
        if coming is not None:
            wait([coming], timeout=FETCH_SECONDS)
        return self._verified(token)

    async def subject_soon(self, token: str) -> str:
        """`subject`, for an event loop: no thread is held while public keys are fetched.

        Raises:
            NotAuthenticated, ServingError: as there.
        """
        coming = self._coming(token)
        if coming is not None:
            await asyncio.wait([asyncio.wrap_future(coming)], timeout=FETCH_SECONDS)
        return await run_in_threadpool(self._verified, token)

    def _coming(self, token: str) -> "Future[None] | None":
        if self._public is None:
            return None
        try:
            return self._public.coming(*_signed_with(token))
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None

    def _verified(self, token: str) -> str:
        try:
            kid, algorithm = _signed_with(token)
            key = self._secret if self._public is None else self._public.find(kid, algorithm)
            if key is None:
                raise jwt.InvalidTokenError("no such key")
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return check_user_id(claims["sub"])
        except (jwt.PyJWTError, InvalidUserId, ValueError, RecursionError):
            # What is wrong is no business of somebody who may be guessing.
            raise NotAuthenticated("The token is not valid", remedy="Get a new one from its issuer.") from None


def _signed_with(token: str) -> tuple[str | None, str]:
    """What a token says of its signature: the name of the key, and the algorithm."""
    header: dict[str, Any] = jwt.get_unverified_header(token)
    return header.get("kid"), str(header.get("alg"))


def _checked(secret: str) -> str:
    if len(secret.encode()) < SECRET_BYTES:
        raise InvalidInput(
            f"The shared secret has {len(secret.encode())} bytes",
            remedy=f"Use at least {SECRET_BYTES} random bytes: shorter ones can be guessed from one token.",
        )
    return secret


def _public(jwks: str) -> KeySet:
    address = urlsplit(jwks)
    if address.scheme not in ("http", "https"):
        return keys_in(jwks)
    if address.scheme == "http" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidInput(
            f"Public keys from {jwks!r} could be replaced on their way", remedy="Use an https:// address."
        )
    return FetchedKeys(jwks)
