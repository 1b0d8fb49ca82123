"""What a user has here: their releases, an adapter brought along, training, and the end of it all.

The user named in the address is checked against the caller before anything is looked up, so a key that does not speak
for them is told the same whether they exist or not. A slash in an id is written ``%2F``.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from sharedllm.adapters.adapter import UNTESTED, GateOutcome, check_fits
from sharedllm.adapters.adapter_file import as_imported, parse_adapter
from sharedllm.errors import CorruptAdapter, InTraining, InvalidInput
from sharedllm.http.arrivals import Arrival, Files
from sharedllm.http.error_responses import Refused
from sharedllm.http.identity import Authenticated, Caller
from sharedllm.http.jobs import MAX_TEXT_BYTES, Jobs
from sharedllm.http.protocol.body import read
from sharedllm.http.protocol.strict import Strict
from sharedllm.http.service import Service, service_of
from sharedllm.http.training_job import Job
from sharedllm.operations import erase as erasing
from sharedllm.operations.grow import begun_from
from sharedllm.operations.quotas import ERASURE
from sharedllm.operations.route import is_revoked
from sharedllm.store import ReleaseSummary, Store
from sharedllm.store.contract import RELEASES_PER_PAGE
from sharedllm.store.release_format import check_reason
from sharedllm.training.recipes import DEFAULT_RECIPE, Recipe, recipe_named, tuned

JOBS_PER_PAGE = 25
# Beside the values: the safetensors header, with the adapter's provenance in it.
_HEADER_BYTES = 65_536

# What an erasure's answer counts, and what its receipt calls that.
_REMOVED = {
    "releases": "releases",
    "events": "events",
    "keys": "API keys",
    "checkpoints": "checkpoints of training",
    "jobs": "trainings",
    "requests": "running requests",
}


class Training(Strict):
    """A text to train on. It is kept in memory until it is trained on, and written nowhere."""

    text: str = Field(description=f"What the user wrote, at most {MAX_TEXT_BYTES:,} bytes in UTF-8.")
    recipe: str = Field(DEFAULT_RECIPE, description="How to train.")
    add: bool = Field(False, description="Whether it is new text that comes to what their release was made from.")


async def acting_for(id: str, caller: Authenticated) -> str:
    """The user in the address, if the caller may speak for them.

    Raises:
        Forbidden, InvalidUserId: see `Caller.acting_for`.
    """
    return caller.acting_for(id)


User = Annotated[str, Depends(acting_for)]


_TEXT = {"requestBody": {"required": True, "content": {"application/json": {"schema": Training.model_json_schema()}}}}
_FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/v1/users/{id:part}", tags=["users"])


def arriving(request: Request, user: User) -> Iterator[Arrival]:
    """Note that a body is about to be read which will change the user, if they may change any more.

    Raises:
        RateLimited: they have changed too much of late.
    """
    service = service_of(request)
    service.quotas.charge(user)
    with service.arrivals.expecting(user) as arrival:
        yield arrival


Arriving = Annotated[Arrival, Depends(arriving)]


@router.get("")
async def show(
    request: Request,
    user: User,
    limit: Annotated[int, Query(ge=1, le=RELEASES_PER_PAGE)] = RELEASES_PER_PAGE,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> dict[str, Any]:
    """Where the user stands, and a page of the releases that are kept of theirs, oldest first.

    It is the newest page, or with `before` that of lower numbers; `more` says whether there is one before it.
    """
    service = service_of(request)
    return await service.tending.run(user, lambda: _shown(service.store, user, limit, before))


async def overriding(
    caller: Authenticated, user: User, override_reason: Annotated[str | None, Query(max_length=1000)] = None
) -> str | None:
    """The reason to override the gate, if there is one and the caller may; found out before any body is read.

    Raises:
        InvalidInput: it is blank.
        OperatorOnly: a user's own key or token.
    """
    if override_reason is not None:
        check_reason(override_reason)
        caller.check_operator("Serving what the gate held back (`override_reason`)")
    return override_reason


@router.put("/adapter", status_code=201, openapi_extra=_FILE)
async def bring(
    request: Request, override_reason: Annotated[str | None, Depends(overriding)], arrival: Arriving
) -> dict[str, Any]:
    """Store an adapter file that `sharedllm export --to adapter` wrote, as a new release.

    It is held back, as what it was tested on elsewhere does not count here. With `override_reason` it is served all
    the same, and the reason is recorded; only a service key may do that.
    """
    service, body = service_of(request), bytes(await request.scope["body"].whole(arrival.user))
    return await service.turns.run(arrival.user, lambda: _bring(service, arrival, body, override_reason))


@router.post("/train", status_code=202, openapi_extra=_TEXT)
async def train(request: Request, arrival: Arriving) -> dict[str, Any]:
    """Train the user on a text in the background. The release is served if it passes its gate, else held back.

    With `add`, training goes on from the release that answers, whose own text is not needed, and the new release is
    served if it is better than that on the new text.
    """
    service, order = service_of(request), await read(request, Training, arrival.user)
    # What another format would give could not answer here.
    recipe = tuned(recipe_named(order.recipe), format=service.engine.layout.format)
    job = await service.turns.run(arrival.user, lambda: submitted(service, arrival, order.text, recipe, order.add))
    return job.as_dict()


@router.get("/jobs")
def trainings(
    request: Request,
    user: User,
    limit: Annotated[int, Query(ge=1, le=JOBS_PER_PAGE)] = JOBS_PER_PAGE,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """A page of the user's trainings, oldest first, from the one that was sent next after `after`.

    `more` says whether there are some after it.
    """
    jobs = _jobs(service_of(request)).of(user, after=after)
    return {"jobs": [job.as_dict() for job in jobs[:limit]], "more": len(jobs) > limit}


@router.get("/jobs/{job:part}")
async def follow(request: Request, job: str, user: User) -> dict[str, Any]:
    """How far a training is, and what became of it."""
    return _jobs(service_of(request)).find(user, job).as_dict()


@router.delete("/jobs/{job:part}")
async def cancel(request: Request, job: str, user: User) -> dict[str, Any]:
    """Cancel a training. One that is over stays as it was; the same text sent again goes on from where it was."""
    service = service_of(request)
    return await service.tending.run(user, lambda: _cancel(_jobs(service), user, job))


@router.delete("")
async def erase(request: Request, user: User, caller: Authenticated) -> dict[str, Any]:
    """Delete the user for good: releases, history, keys, trainings. Whatever they have running is stopped.

    The receipt is signed by whoever runs this server, and asking again gives the same one, which takes a service key or
    a token, as the user's keys are gone. A user who was revoked cannot end that by being erased and coming back with a
    token, which outlives an erasure: a service key erases them.
    """
    service = service_of(request)
    return await service.tending.run(user, lambda: _erase(service, user, caller))


def _shown(store: Store, user: str, limit: int, before: int | None) -> dict[str, Any]:
    summary = store.user(user)
    page = store.releases(user, before=before, limit=limit)
    more = bool(page) and bool(store.releases(user, before=page[0].number, limit=1))
    return asdict(summary) | {"releases": [_release(each) for each in page], "more": more}


def _cancel(jobs: Jobs, user: str, id: str) -> dict[str, Any]:
    found = jobs.find(user, id)
    jobs.cancel(found)
    return found.as_dict()


def submitted(service: Service, arrival: Arrival, wrote: str | Files, recipe: Recipe, add: bool) -> Job:
    """A training of what arrived, in the queue. Reads the store, and so blocks.

    Raises:
        InvalidInput: this server does not train.
        SharedLLMError: see `Jobs.submit`, `begun_from` and `Arrivals.landing`.
    """
    jobs = _jobs(service)
    if add:
        # Said now, not by a job that fails.
        begun_from(service.store, arrival.user, service.engine.layout.base, recipe)
    with service.arrivals.landing(arrival):
        return jobs.submit(arrival.user, wrote, recipe, arrival.stay, add=add)


def _bring(service: Service, arrival: Arrival, data: bytes, override_reason: str | None) -> dict[str, Any]:
    layout = service.engine.layout
    limit = 2 * layout.size + _HEADER_BYTES
    if len(data) > limit:
        raise CorruptAdapter(
            f"The file has {len(data):,} bytes, and an adapter of this base has at most {limit:,}",
            remedy="Send a file that `sharedllm export --to adapter` wrote.",
        )
    adapter = parse_adapter(data, "The file")
    check_fits(adapter, layout)
    user = arrival.user
    with service.arrivals.landing(arrival):
        release = service.store.publish(user, as_imported(adapter, layout), GateOutcome(False, UNTESTED), arrival.stay)
        if override_reason is not None:
            service.store.rollback(user, release.number, override_reason=override_reason)
        return {
            "user": user,
            "release": release.number,
            "served": service.store.user(user).served,
            "gate": asdict(release.gate),
        }


def _erase(service: Service, user: str, caller: Caller) -> dict[str, Any]:
    if caller.by_token and is_revoked(service.store, user):
        caller.check_operator("Erasing a user who was revoked")
    service.quotas.charge(user, ERASURE)
    try:
        receipt = erasing.erase(service.store, user, others=service.holders)
    except InTraining:
        # Which folder is for the operator, whose run it is.
        raise Refused(
            409,
            "in_training",
            f"A run beside this server may be training {user!r}, and nothing was erased",
            remedy="Ask whoever runs it to end it first.",
        ) from None
    removed = {name: receipt.counts.get(what, 0) for name, what in _REMOVED.items()}
    return {"user": user, "removed": removed, "receipt": receipt.as_dict()}


def _jobs(service: Service) -> Jobs:
    if service.jobs is None:
        raise InvalidInput("This server does not train", remedy="Use `sharedllm train` where its store is.")
    return service.jobs


def _release(summary: ReleaseSummary) -> dict[str, Any]:
    # Where a text was read from is a matter of the machine it was read on.
    provenance = {name: value for name, value in summary.provenance.items() if name != "sources"}
    return asdict(summary) | {"provenance": provenance}
