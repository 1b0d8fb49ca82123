"""What a page asks first: who its key or token speaks for, and what this server does; and how it comes by a key."""

import os
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from sharedllm.errors import Forbidden, UnknownKey
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.strict import Strict
from sharedllm.http.same_machine import End, uid_of
from sharedllm.http.service import service_of

router = APIRouter(prefix="/v1", tags=["users"], responses=ANSWERS)


class Arrived(Strict):
    """What the page sends once."""

    code: str = Field(max_length=256, description="What stood in its address.")


@router.get("/me")
async def me(request: Request, caller: Authenticated) -> dict[str, Any]:
    """Who asks: ``user`` with whose name, or ``service`` or ``anyone``, who name a user; and what can be asked here."""
    service = service_of(request)
    engine = service.engine
    return {
        "kind": caller.kind,
        "user": caller.acting_for() if caller.sender is not None else None,
        "by_token": caller.by_token,
        "model": service.model,
        "context": engine.context,
        "chats": bool(engine.base.tokenizer.chat_template),
        "alone": "prior" if engine.base.has_prior else "base",
        "trains": service.jobs is not None,
        "body_bytes": service.policy.body_bytes,
    }


@router.post("/visits", status_code=201, openapi_extra=described(Arrived))
async def visit(request: Request) -> dict[str, Any]:
    """A key for the code in the address that `sharedllm try` opened; it needs no other, and is good once.

    To another user of the same machine, who may read the address among the arguments of a browser, it gives none.
    """
    service = service_of(request)
    asked = await read(request, Arrived, None)
    if service.visits is None:
        raise UnknownKey("This server gives no keys for codes", remedy="Log in with a key.")
    if request.client is not None and await run_in_threadpool(_is_another, request.client, request.scope["server"]):
        raise Forbidden(
            "This code is for whoever runs the server, and not for another user of this machine",
            remedy="Run `sharedllm try` yourself.",
        )
    return {"key": service.visits.redeem(asked.code)}


def _is_another(client: End, server: End) -> bool:
    uid = uid_of(client, server)
    # Root has whatever it likes, and forwards connections from elsewhere.
    return uid is not None and uid not in (0, os.getuid())
