"""``POST /tokenize`` and ``POST /detokenize``, in the shapes of vLLM: what a prompt is to this base, and back."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.large_json import to_json
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.chat import prompt_of
from sharedllm.http.protocol.forms import check_length, check_model
from sharedllm.http.protocol.schemas import Message, TokenIds
from sharedllm.http.protocol.strict import Strict
from sharedllm.http.service import service_of

router = APIRouter(tags=["answers"])


class TokenizeRequest(Strict):
    """The body of ``POST /tokenize``: a prompt as ``/v1/completions`` reads it, or a conversation as chats do."""

    unsupported: ClassVar[Mapping[str, Sequence[Any]]] = {"add_special_tokens": (True,), "return_token_strs": (False,)}

    model: str = Field(max_length=1024, description="The id from /v1/models.")
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=2048, fail_fast=True)] | None = None
    add_generation_prompt: bool | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizeRequest":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("prompt", "give a prompt or messages, and not both")
        return self


class DetokenizeRequest(Strict):
    """The body of ``POST /detokenize``."""

    model: str = Field(max_length=1024, description="The id from /v1/models.")
    tokens: TokenIds


@router.post("/tokenize", openapi_extra=described(TokenizeRequest), responses=ANSWERS)
async def tokenize(request: Request, caller: Authenticated) -> Response:
    """The token ids of a prompt or a conversation, control tokens included."""
    service = service_of(request)
    asked = await read(request, TokenizeRequest, caller.sender)
    check_model(service, asked.model)

    def work() -> bytes:
        if asked.messages is not None:
            ids = prompt_of(service, asked.messages, asking=asked.add_generation_prompt is not False)
        else:
            check_length(service, [asked.prompt or ""])
            ids = service.engine.base.encode(asked.prompt or "")
        return to_json({"count": len(ids), "max_model_len": service.engine.context, "tokens": ids})

    return _json(await service.turns.run(caller.sender or "nobody in particular", work))


@router.post("/detokenize", openapi_extra=described(DetokenizeRequest), responses=ANSWERS)
async def detokenize(request: Request, caller: Authenticated) -> Response:
    """The text of token ids, control tokens left out."""
    service = service_of(request)
    asked = await read(request, DetokenizeRequest, caller.sender)
    check_model(service, asked.model)

    def work() -> bytes:
        base = service.engine.base
        base.tokens.check(asked.tokens)
        return to_json({"prompt": base.decode(asked.tokens)})

    return _json(await service.turns.run(caller.sender or "nobody in particular", work))


def _json(body: Any) -> Response:
    return Response(body, media_type="application/json")
