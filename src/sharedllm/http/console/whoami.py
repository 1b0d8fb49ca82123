"""``GET /v1/me``: who a key or token speaks for, and what this server does; what a page asks first."""

from typing import Any

from fastapi import APIRouter, Request

from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.service import Service

router = APIRouter(prefix="/v1", tags=["users"], responses=ANSWERS)


@router.get("/me")
async def me(request: Request, caller: Authenticated) -> dict[str, Any]:
    """Who asks: ``user`` with whose name, or ``service`` or ``anyone``, who name a user; and what can be asked here."""
    service: Service = request.app.state.service
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
