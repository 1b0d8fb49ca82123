"""A person's files over HTTP: looked at, trained on, and kept nowhere.

A body is one file, told by its content, or a ZIP archive of several. How it is read (who the person is in it, what is
learned, whether details are masked) is JSON in the header `X-SharedLLM-Choices`, percent-encoded as ids are: names of
people do not belong into addresses.
"""

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.encoders import jsonable_encoder

from sharedllm.errors import InvalidInput, TextError
from sharedllm.http.arrivals import Files
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.inspection_worker import looked_at
from sharedllm.http.paths import decoded
from sharedllm.http.service import service_of
from sharedllm.http.users import Arriving, User, submitted
from sharedllm.text.choices import Choices, choices_from
from sharedllm.training.recipes import DEFAULT_RECIPE, recipe_named, tuned

HEADER = "X-SharedLLM-Choices"
_FILES = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/v1/users/{id:part}/files", tags=["users"], responses=ANSWERS)


async def chosen(request: Request) -> Choices:
    """How the files are read; a FastAPI dependency.

    Raises:
        InvalidInput: the header does not say it.
    """
    try:
        return choices_from(json.loads(decoded(request.headers.get(HEADER, "{}"))))
    except (ValueError, RecursionError):
        raise InvalidInput(
            f"{HEADER} does not say how files are read",
            remedy='Send percent-encoded JSON, as {"me": ["Alice M."], "learn": "writing", "mask": false}.',
        ) from None


Chosen = Annotated[Choices, Depends(chosen)]


@router.post("/inspect", openapi_extra=_FILES)
async def look(request: Request, user: User, choices: Chosen) -> dict[str, Any]:
    """What training would read in the files: whose words, in which languages, with which details, and what is left out.

    And, as `training`, how long one would take here, in seconds. Nothing is trained, and nothing of them is kept. One
    of a user's is looked at at a time, and two in all.

    Raises:
        QueueFull: too many of theirs wait for that, or of everybody's; found out before the body is read.
    """
    service = service_of(request)
    service.reading.check_room(user)
    data = await _whole(request, user)
    found = await service.reading.run(user, lambda: looked_at(user, data, choices))
    if service.jobs is not None and (split := found.get("split")) is not None:
        by_parts = found["learned"] if split["by_parts"] else None
        found["training"] = asdict(service.jobs.reckon(recipe_named(DEFAULT_RECIPE), by_parts))
    return dict(jsonable_encoder(found))


@router.post("/train", status_code=202, openapi_extra=_FILES)
async def train(
    request: Request, arrival: Arriving, choices: Chosen, add: bool = False, recipe: str = DEFAULT_RECIPE
) -> dict[str, Any]:
    """Train the user on the files in the background, as on a text; what is wrong with them is told by the job."""
    service = service_of(request)
    files = Files(await _whole(request, arrival.user), choices)
    tuned_to = tuned(recipe_named(recipe), format=service.engine.layout.format)
    job = await service.turns.run(arrival.user, lambda: submitted(service, arrival, files, tuned_to, add))
    return job.as_dict()


async def _whole(request: Request, user: str) -> bytes:
    data = bytes(await request.scope["body"].whole(user))
    if not data:
        raise TextError("There is nothing in the body", remedy="Send a file, or a ZIP archive of several.")
    return data
