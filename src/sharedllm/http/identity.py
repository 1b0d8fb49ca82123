"""Who asks, and for whom they may ask: a key or token belongs to one user, or to a service that acts for users.

The secret is read from the ``Authorization`` header alone, never from an address, which ends up in logs. A service
names the user in the body's ``user`` or in the header ``X-SharedLLM-User`` (percent-encoded UTF-8, as ids are any
Unicode).
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from sharedllm.errors import Forbidden, InvalidInput, NotAuthenticated, OperatorOnly
from sharedllm.http.paths import decoded
from sharedllm.http.service import Service, service_of
from sharedllm.user_ids import check_user_id

USER_HEADER = "X-SharedLLM-User"
_bearer = HTTPBearer(auto_error=False, description="An API key, or a JSON Web Token of the configured issuer.")


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        kind: ``user`` speaks for one user; ``service`` for whomever it names; ``anyone`` likewise, unverified, on a
            server that asks nobody who they are.
        user: whom a ``user`` speaks for; None for the others.
        named: the user named in the header, if any.
        by_token: whether a token says so, which stays valid whatever happens here, and not a key of this store.
    """

    kind: Literal["user", "service", "anyone"]
    user: str | None
    named: str | None = None
    by_token: bool = False

    def check_operator(self, what: str) -> None:
        """Let through whoever may decide for others: a service, or anybody on a server that asks nobody who they are.

        Args:
            what: what was asked for, as a sentence begins with it.

        Raises:
            OperatorOnly: a user's own key or token.
        """
        if self.kind == "user":
            raise OperatorOnly(
                f"{what} is for whoever runs this server to decide, not for a user's own key",
                remedy="Leave it out, or ask them: a service key may.",
            )

    @property
    def sender(self) -> str | None:
        """Who sends a body; None for a service that names nobody in the header."""
        return self.user or self.named

    def acting_for(self, named: str | None = None) -> str:
        """The user whose adapter may answer.

        Args:
            named: whom the body or the address asks for; None if it does not say.

        Raises:
            Forbidden: somebody else than the caller's own user.
            InvalidInput: nobody was named by a caller that must, or two different users were.
            InvalidUserId: that cannot name a user.
        """
        if None not in (named, self.named) and named != self.named:
            raise InvalidInput(f"The request names two users: `user` and {USER_HEADER}", remedy="Name one.")
        wanted = named if named is not None else self.named
        if self.kind == "user":
            if wanted is not None and wanted != self.user:
                raise Forbidden(
                    "This key does not speak for that user", remedy="Use their own key, or leave out `user`."
                )
            wanted = self.user
        if wanted is None:
            raise InvalidInput(
                "The request does not say for which user", remedy=f"Name one in `user` or {USER_HEADER}."
            )
        return check_user_id(wanted)


async def authenticated(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Find out who asks; a FastAPI dependency, solved before any body is read.

    Raises:
        NotAuthenticated: no key or token, or an invalid one.
        UnknownKey: the key is unknown or revoked.
        InvalidInput: the header that names a user is not percent-encoded UTF-8.
    """
    service = service_of(request)
    named = _named(request)
    if service.open:
        return Caller("anyone", None, named)
    if credentials is None and service.visits is not None:
        raise service.visits.not_opened()
    if credentials is None or len(request.headers.getlist("authorization")) != 1:
        raise NotAuthenticated(
            "There is no key", remedy="Send `Authorization: Bearer` and an API key or token, in a header and once."
        )
    return replace(await _holder(service, credentials.credentials), named=named)


async def _holder(service: Service, secret: str) -> Caller:
    if service.visits is not None:
        key = service.visits.holder(secret)
        return Caller(key.kind, key.user)
    # A token has two dots, and no API key has one.
    if service.jwt is not None and (service.keys is None or secret.count(".") == 2):
        return Caller("user", await service.jwt.subject_soon(secret), by_token=True)
    if service.keys is None:
        raise NotAuthenticated("There is no key", remedy="Send one.")
    key = await run_in_threadpool(service.keys.holder, secret)
    return Caller(key.kind, key.user)


def _named(request: Request) -> str | None:
    values = request.headers.getlist(USER_HEADER)
    if not values:
        return None
    if len(values) > 1:
        raise InvalidInput(f"{USER_HEADER} is there more than once", remedy="Name one user.")
    try:
        return decoded(values[0])
    except ValueError as error:
        raise InvalidInput(f"{USER_HEADER} {error}", remedy="Percent-encode the user's id as UTF-8.") from None


Authenticated = Annotated[Caller, Depends(authenticated)]
"""How an endpoint asks who is asking."""
