"""Everybody in the store, for an operator: who they are, what their releases are worth, and who is not to be served."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.http.operator import in_turn, operator_router
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.strict import Strict
from sharedllm.http.service import Service
from sharedllm.store.contract import PEOPLE_PER_PAGE, ListedUser, Standing
from sharedllm.store.release_format import STORED
from sharedllm.user_ids import MAX_USER_ID_CHARACTERS

router = operator_router("/v1/users")


@router.get("")
async def everybody(
    request: Request,
    state: Standing | None = None,
    search: Annotated[str, Query(max_length=MAX_USER_ID_CHARACTERS)] = "",
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=PEOPLE_PER_PAGE)] = PEOPLE_PER_PAGE,
) -> dict[str, Any]:
    """A page of people in the order they arrived; `next` is what to send as `after` for the next, null at the end.

    `state` is `active`, `revoked`, or `not_served`: active, and none of their own releases answers them. `search` is a
    part of their ids, A to Z taken for a to z. Of many people a page looks for them among a part, and may be short or
    empty before the end.
    """

    def work(service: Service) -> dict[str, Any]:
        people = service.store.people(state=state, search=search, after=after, limit=limit)
        return {"users": [_told(person) for person in people.page], "next": people.next}

    return await in_turn(request, work)


class Revocation(Strict):
    """Why somebody is not to be served."""

    reason: str = Field(description="The user is told it, and it is kept in their history.", max_length=1000)


@router.post("/{id:part}/revoke", openapi_extra=described(Revocation))
async def revoke(request: Request, id: str) -> dict[str, Any]:
    """Serve nothing for a user until they are restored; all that is kept of theirs stays."""
    asked = await read(request, Revocation, None)

    def work(service: Service) -> dict[str, Any]:
        service.store.revoke(id, asked.reason)
        return asdict(service.store.user(id))

    return await in_turn(request, work)


@router.post("/{id:part}/restore")
async def restore(request: Request, id: str) -> dict[str, Any]:
    """Serve a user again who was revoked. Nothing happens to one who was not."""

    def work(service: Service) -> dict[str, Any]:
        service.store.restore(id)
        return asdict(service.store.user(id))

    return await in_turn(request, work)


def _told(person: ListedUser) -> dict[str, Any]:
    newest, shown = person.newest, person.served or person.newest
    return asdict(person.summary) | {
        "trained_at": newest and newest.created_at,
        "gate": newest and {"passed": newest.gate.passed, "reason": newest.gate.reason},
        "gain": shown and gain(shown.gate),
        "bytes": shown and shown.parameters * STORED.itemsize,
    }


def gain(outcome: GateOutcome) -> Mapping[str, float] | None:
    """How much lower the perplexity of one's own text is than what one would get otherwise, as a share of that.

    ``estimate``, and ``low`` and ``high`` of its interval; None where the gate has measured nothing, as of an import.
    """
    own = outcome.figures.get("own")
    improvement = own.get("improvement") if isinstance(own, Mapping) else None
    if not isinstance(improvement, Mapping):
        return None
    return {name: improvement[name] for name in ("estimate", "low", "high") if name in improvement}
