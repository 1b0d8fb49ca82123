"""The application: every endpoint over one `Service`.

    app = create_app(Service(engine, store, keys=keys))

``/`` is the page, which loads nothing from elsewhere; ``/openapi.json`` describes the API.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from sharedllm import __version__
from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import SharedLLMError
from sharedllm.http import everybody, key_holders, oversight, own_files, own_releases, status, users
from sharedllm.http.console import assets, whoami
from sharedllm.http.console.whoami import Arrived
from sharedllm.http.erased import watch
from sharedllm.http.error_responses import ANSWERS, on_error
from sharedllm.http.everybody import Revocation
from sharedllm.http.free_memory import give_back_often
from sharedllm.http.head_requests import Heads
from sharedllm.http.limits import Bounds
from sharedllm.http.logs import Watched
from sharedllm.http.metrics import Metrics
from sharedllm.http.own_releases import Rollback
from sharedllm.http.paths import Paths
from sharedllm.http.protocol import chat, completions, responses, tokenizing
from sharedllm.http.protocol.response_schemas import ResponsesRequest
from sharedllm.http.protocol.schemas import ChatRequest, CompletionRequest
from sharedllm.http.protocol.tokenizing import DetokenizeRequest, TokenizeRequest
from sharedllm.http.service import Service

BODIES = (
    ChatRequest,
    CompletionRequest,
    ResponsesRequest,
    TokenizeRequest,
    DetokenizeRequest,
    Arrived,
    Revocation,
    Rollback,
)
"""What `read` reads, described beside the addresses."""
EXPOSED = ["X-Request-Id", "Retry-After", *(f"X-SharedLLM-{name}" for name in ("Route", "Release", "Base", "Reason"))]
"""Headers that a page of another origin may read."""


def create_app(service: Service) -> FastAPI:
    """An app over ``service``. It starts the engine when it starts, and closes it when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        tasks = [asyncio.create_task(watch(service)), asyncio.create_task(give_back_often())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            service.engine.close()

    app = _Described(
        title="sharedllm",
        version=__version__,
        description="Everyone's own model behind one API: the key decides whose adapter answers.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # It would send whoever holds a key to wherever the request says that it was sent.
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.metrics = Metrics(service.engine)
    app.state.vocabulary = Vocabulary(service.engine.base.tokenizer)
    for kind in (SharedLLMError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, on_error)
    # The one that is added last is outermost.
    app.add_middleware(Heads)
    app.add_middleware(Paths)
    app.add_middleware(Bounds, policy=service.policy)
    if service.policy.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.policy.origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=600,
        )
    app.add_middleware(Watched, metrics=app.state.metrics)
    app.include_router(chat.router)
    app.include_router(completions.router)
    app.include_router(responses.router)
    app.include_router(tokenizing.router)
    app.include_router(status.router)
    app.include_router(whoami.router)
    app.include_router(assets.router)
    app.include_router(users.router, responses=ANSWERS)
    app.include_router(own_files.router)
    app.include_router(own_releases.router)
    app.include_router(everybody.router)
    app.include_router(key_holders.router)
    app.include_router(oversight.router)
    return app


class _Described(FastAPI):
    """Adds the bodies that `reading.read` reads to the description."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            _, schemas = models_json_schema(
                [(model, "validation") for model in BODIES],
                ref_template="#/components/schemas/{model}",
            )
            described.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
            self.openapi_schema = described
        return self.openapi_schema
