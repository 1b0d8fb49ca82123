"""What is served here, and how it is doing: ``/v1/models``, ``/version``, ``/healthz``, ``/readyz``, ``/metrics``.

All but the first need no key, as what calls them rarely has one; they tell nothing about anybody.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from sharedllm import __version__
from sharedllm.errors import SharedLLMError, UnknownUser
from sharedllm.http.error_responses import ANSWERS, Refused
from sharedllm.http.identity import Authenticated
from sharedllm.http.service import Service, service_of

# No user is called like this: whether the store can look somebody up is all that is asked.
_NOBODY = "\ue000sharedllm-readiness"

router = APIRouter()


@router.get("/v1/models", tags=["models"], responses=ANSWERS)
async def models(request: Request, caller: Authenticated) -> Mapping[str, Any]:
    """The one model that is served; who asks decides which adapter answers."""
    return {"object": "list", "data": [_model(service_of(request))]}


@router.get("/v1/models/{id:rest}", tags=["models"], responses=ANSWERS)
async def model(request: Request, id: str, caller: Authenticated) -> Mapping[str, Any]:
    """One model."""
    service = service_of(request)
    if id != service.model:
        raise Refused(
            404, "model_not_found", f"There is no model {id!a}", remedy=f"Ask for {service.model!a}.", param="model"
        )
    return _model(service)


@router.post("/v1/embeddings", tags=["models"], responses=ANSWERS)
async def embeddings(request: Request, caller: Authenticated) -> Response:
    """No: a base that was trained to go on with texts says little by a mean of its hidden states."""
    raise Refused(
        404,
        "no_embeddings",
        "This server makes no embeddings: its base was trained to write, not to compare texts",
        remedy="Ask a model that was trained for them.",
    )


@router.get("/version", tags=["operation"])
async def version(request: Request) -> Mapping[str, Any]:
    """Which version of this program answers."""
    return {"version": __version__}


@router.get("/health", tags=["operation"], responses={503: {"description": "It is to be started again."}})
@router.get("/ping", tags=["operation"], responses={503: {"description": "It is to be started again."}})
@router.get("/healthz", tags=["operation"], responses={503: {"description": "It is to be started again."}})
async def alive(request: Request) -> Response:
    """Whether the process is of any use: it answers, and its engine has not failed."""
    failed = not service_of(request).engine.healthy
    return JSONResponse({"status": "the engine has failed" if failed else "ok"}, 503 if failed else 200)


@router.get("/readyz", tags=["operation"], responses={503: {"description": "Not now; `reasons` says why."}})
async def ready(request: Request) -> Response:
    """Whether requests can be sent here: the engine runs, the store answers, and the server is not shutting down."""
    service = service_of(request)
    reasons = []
    if service.draining:
        reasons.append("shutting down")
    if not service.engine.healthy:
        reasons.append("the engine has failed")
    if not await run_in_threadpool(_store_answers, service):
        reasons.append("the store does not answer")
    return JSONResponse({"status": "unready" if reasons else "ok", "reasons": reasons}, 503 if reasons else 200)


@router.get("/metrics", tags=["operation"])
async def metrics(request: Request) -> Response:
    """Counts and times, for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _store_answers(service: Service) -> bool:
    try:
        service.store.user(_NOBODY)
    except UnknownUser:
        return True
    except SharedLLMError:
        return False
    return True


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.model, "object": "model", "created": 0, "owned_by": "sharedllm"}
