"""A person's releases and what else is held of them, over HTTP: going back, taking along, and looking what there is."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from sharedllm.holder import Removed
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.strict import Strict
from sharedllm.http.service import Service, service_of
from sharedllm.http.users import User
from sharedllm.operations.erase import held
from sharedllm.operations.exchange import exported_bytes
from sharedllm.store.api_keys import Keys

router = APIRouter(prefix="/v1/users/{id:part}", tags=["users"], responses=ANSWERS)


class Rollback(Strict):
    """Which release shall answer."""

    to: int | None = Field(None, ge=1, lt=2**63, description="By default the one before that passed its gate.")


@router.post("/rollback", openapi_extra=described(Rollback))
async def rollback(request: Request, user: User) -> dict[str, Any]:
    """Let another of the user's releases answer, of those that passed their gate. Nothing is deleted."""
    service, asked = service_of(request), await read(request, Rollback, user)
    service.quotas.charge(user)
    release = await service.tending.run(user, lambda: service.store.rollback(user, asked.to))
    return {"user": user, "served": release.number}


@router.post("/reset")
async def reset(request: Request, user: User) -> dict[str, Any]:
    """Put the user back to the base, until a release passes its gate or is gone back to. Nothing is deleted."""
    service = service_of(request)
    service.quotas.charge(user)
    before = await service.tending.run(user, lambda: service.store.reset(user))
    return {"user": user, "served": None, "before": before}


@router.get("/adapter", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
async def take_along(
    request: Request, user: User, release: Annotated[int | None, Query(ge=1, lt=2**63)] = None
) -> Response:
    """A release as a file, as `sharedllm export --to adapter` writes it; by default the one that answers."""
    service = service_of(request)
    data = await service.tending.run(user, lambda: exported_bytes(service.store, user, number=release))
    return Response(data, headers={"Cache-Control": "no-store"}, media_type="application/octet-stream")


@router.get("/held")
async def show_held(request: Request, user: User) -> dict[str, Any]:
    """What this server holds of the user, by kind and place; what it is, is what an erasure would remove."""
    service = service_of(request)
    counts = await service.tending.run(user, lambda: _held(service, user))
    return {"user": user, "held": [asdict(each) for each in counts]}


def _held(service: Service, user: str) -> list[Removed]:
    counts = held(service.store, user, others=service.holders)
    if service.keys is not None:
        counts.append(Removed("API keys", "store", _count(service.keys, user)))
    return counts


def _count(keys: Keys, user: str) -> int:
    page = keys.page(user=user)
    count = len(page.page)
    while page.next is not None:
        page = keys.page(user=user, after=page.next)
        count += len(page.page)
    return count
