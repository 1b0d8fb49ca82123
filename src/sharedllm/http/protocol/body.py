"""A body of bytes to what was asked, or a refusal that names what is wrong, at a cost that its size bounds."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from sharedllm.http.error_responses import Refused, invalid
from sharedllm.http.limits import Body
from sharedllm.http.service import service_of

T = TypeVar("T", bound=BaseModel)

CONTAINERS = 16_384
"""Arrays and objects in one body. Two bytes that open and close one become a hundred and more, and no request that can
be answered has as many: a conversation has 2,048 messages at most."""
VALUES = 2_048
"""Of one array or object that holds no token ids, at most."""


async def read(request: Request, model: type[T], sender: str | None) -> T:
    """The body as ``model``, parsed off the event loop in the turn of ``sender``, or else of the address it comes from.

    Raises:
        Refused: another content type, which a page in a browser could send unasked; see also `check_values` and
            `parsed`.
        QueueFull: too much of theirs is waiting to be parsed, routed or encoded.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "unsupported_media_type", "The body is not JSON", remedy="Send it as application/json.")
    service = service_of(request)
    body: Body = request.scope["body"]
    owner = sender or f"from {request.client.host if request.client else 'nowhere'}"
    whole = await body.whole(owner)
    if sender is not None:
        service.turns.check_room(sender)
    context, answers = service.engine.context, service.answers

    def work() -> T:
        check_values(whole, context, answers)
        return parsed(whole, model)

    return await service.turns.run(owner, work)


def check_values(body: bytes | bytearray, context: int, answers: int) -> None:
    """Refuse more token ids than can be answered before they become numbers, which holds up all other threads.

    Args:
        body: JSON, or not.
        context: how many a prompt may have.
        answers: how many prompts a request may have.

    Raises:
        Refused: an array or object has more values, or all together have.
    """
    one = max(context, VALUES)
    if body.count(b",") < one:
        return
    characters = _structure(body)
    commas = np.flatnonzero(characters == ord(","))
    brackets = np.flatnonzero((characters | 0x20 == ord("{")) | (characters | 0x20 == ord("}")))
    between = np.diff(np.searchsorted(commas, brackets), prepend=0, append=len(commas))
    for values, most, where in (
        (int(between.max()) + 1, one, "One array or object of the body"),
        (len(commas) + 1, 4 * CONTAINERS + answers * one, "The body"),
    ):
        if values > most:
            raise Refused(
                400,
                "context_length_exceeded",
                f"{where} has {values:,} values",
                remedy=f"At most {most:,} can be answered: the context has {context:,} tokens.",
            )


def parsed(body: bytes | bytearray, model: type[T]) -> T:
    """The body as ``model``.

    Raises:
        Refused: not JSON, where NaN, unpaired surrogates and deep nesting are not JSON either; more arrays and objects
            than any request has; or not the parameters that ``model`` has.
    """
    if (containers := _containers(body)) > CONTAINERS:
        raise Refused(
            400,
            "invalid_json",
            f"The body has {containers:,} arrays and objects",
            remedy=f"No request needs more than {CONTAINERS:,}.",
        )
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, "invalid_json", f"The body is not JSON: {error}", remedy="Correct it.") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False)) from None


def described(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI of an endpoint that calls `read`; `app` adds the schema itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _containers(body: bytes | bytearray) -> int:
    """Arrays and objects that JSON opens; of what is not JSON, no fewer than it opens before its first mistake."""
    if body.count(b"[") + body.count(b"{") <= CONTAINERS:
        return 0
    characters = _structure(body)
    return int(np.count_nonzero((characters == ord("[")) | (characters == ord("{"))))


def _structure(body: bytes | bytearray) -> npt.NDArray[np.uint8]:
    """The characters of JSON but for escapes, with zeros for what strings spell."""
    # Without escapes, every other quote begins a string.
    characters = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    # Whether the number of quotes is odd survives that a byte overflows.
    within = np.cumsum(characters == ord('"'), dtype=np.uint8) & 1
    return np.where(within, np.uint8(0), characters)
