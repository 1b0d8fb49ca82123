"""What only whoever runs this server may ask: a service, or anybody on a server that asks nobody who they are.

Every router of theirs is made by `operator_router`, so that no address of one answers a user's own key, or no key.
"""

from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Depends, Request

from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.service import Service, service_of

T = TypeVar("T")

TAG = "operator"
# No user is called like this: an operator waits behind other operators alone.
_OPERATOR = ""


async def operating(caller: Authenticated) -> None:
    """Let an operator through; a FastAPI dependency, solved before any body is read.

    Raises:
        NotAuthenticated, UnknownKey: see `authenticated`.
        OperatorOnly: a user's own key or token.
    """
    caller.check_operator("What concerns everybody")


def operator_router(prefix: str) -> APIRouter:
    """A router of addresses that answer an operator alone."""
    return APIRouter(prefix=prefix, tags=[TAG], dependencies=[Depends(operating)], responses=ANSWERS)


async def in_turn(request: Request, work: Callable[[Service], T]) -> T:
    """What ``work`` makes of the service, done in a thread once it is the operator's turn."""
    service = service_of(request)
    return await service.tending.run(_OPERATOR, lambda: work(service))
