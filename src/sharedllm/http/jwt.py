"""JSON Web Tokens of an issuer that the operator trusts: a valid token speaks for the user in its ``sub``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from sharedllm.errors import InvalidInput, InvalidUserId, NotAuthenticated, ServingError
from sharedllm.users import check_user_id

LEEWAY_SECONDS = 30
SECRET_BYTES = 32
FETCH_SECONDS = 5.0
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
        self._key_of = _shared(secret) if secret is not None else _public(jwks or "")

    def subject(self, token: str) -> str:
        """The user that a token speaks for. Blocks while public keys are fetched.

        Raises:
            NotAuthenticated: the token is not valid; the message is the same whatever is wrong with it.
            ServingError: the issuer's public keys cannot be fetched.
        """
        try:
            claims = jwt.decode(
                token,
                self._key_of(token),
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return check_user_id(claims["sub"])
        except jwt.PyJWKClientConnectionError:
            raise ServingError("The issuer's public keys cannot be fetched", remedy="Try again in a moment.") from None
        except (jwt.PyJWTError, InvalidUserId, ValueError, RecursionError):
            # What is wrong is no business of somebody who may be guessing.
            raise NotAuthenticated("The token is not valid", remedy="Get a new one from its issuer.") from None


def _shared(secret: str) -> Callable[[str], Any]:
    if len(secret.encode()) < SECRET_BYTES:
        raise InvalidInput(
            f"The shared secret has {len(secret.encode())} bytes",
            remedy=f"Use at least {SECRET_BYTES} random bytes: shorter ones can be guessed from one token.",
        )
    return lambda token: secret


def _public(jwks: str) -> Callable[[str], Any]:
    address = urlsplit(jwks)
    if address.scheme in ("http", "https"):
        if address.scheme == "http" and address.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise InvalidInput(
                f"Public keys from {jwks!r} could be replaced on their way", remedy="Use an https:// address."
            )
        return jwt.PyJWKClient(jwks, timeout=FETCH_SECONDS).get_signing_key_from_jwt
    try:
        keys = jwt.PyJWKSet.from_json(Path(jwks).read_text(encoding="utf-8")).keys
    except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
        raise InvalidInput(f"{jwks!r} holds no public keys: {error}", remedy="Give a JWKS file.") from None
    return lambda token: _named(keys, jwt.get_unverified_header(token).get("kid"))


def _named(keys: Sequence[Any], kid: str | None) -> Any:
    """The key of that name; the only key there is where neither it nor the token has a name."""
    found = [key for key in keys if key.key_id == kid]
    if len(found) != 1:
        raise jwt.InvalidTokenError("no such key")
    return found[0]
