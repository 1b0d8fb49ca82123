"""``POST /v1/responses``: a chat, asked and answered in OpenAI's newer shape. Nothing of it is kept."""

from functools import partial

from fastapi import APIRouter, Request, Response

from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.chat import Chat
from sharedllm.http.protocol.response_events import ResponseWriter
from sharedllm.http.protocol.response_schemas import ResponsesRequest
from sharedllm.http.protocol.stream import answer
from sharedllm.http.service import service_of

router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/responses", openapi_extra=described(ResponsesRequest), responses=ANSWERS)
async def respond(request: Request, caller: Authenticated) -> Response:
    """Answer a conversation with the caller's own adapter."""
    service = service_of(request)
    asked = await read(request, ResponsesRequest, caller.sender)
    return await answer(request, caller, Chat(service, asked.chat), partial(ResponseWriter, asked))
