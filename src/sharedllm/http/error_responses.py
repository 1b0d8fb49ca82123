"""Every error as OpenAI's clients read it: ``{"error": {"message", "type", "param", "code"}}`` and a status.

It says what was wrong with the request, or only that something is wrong with the server: file names and the like are
for the operator (see `public`). ``code`` is the name of the error in `sharedllm.errors`, in snake case. Beside
``error`` stands the ``sharedllm`` object of an answer, where it was decided already which adapter answers.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sharedllm.errors import (
    AdapterError,
    ErasedMeanwhile,
    Forbidden,
    GrammarFailed,
    InvalidInput,
    NotAuthenticated,
    NotServed,
    QueueFull,
    ServingError,
    SharedLLMError,
    StoreBusy,
    StoreError,
    TrainingError,
    UnknownJob,
    UnknownKey,
    UnknownUser,
)
from sharedllm.http.public_errors import public

MESSAGE_CHARACTERS = 1000
PARAM_CHARACTERS = 200
GONE = 499
"""What logs call a client that went away before its answer."""
UNKNOWN_PARAMETER = "unknown_parameter"
"""The code of the one refusal whose parameter the caller has named."""

STATUS: Mapping[type[Exception], int] = {
    InvalidInput: 400,
    NotAuthenticated: 401,
    UnknownKey: 401,
    Forbidden: 403,
    UnknownUser: 404,
    UnknownJob: 404,
    ErasedMeanwhile: 410,
    NotServed: 409,
    AdapterError: 409,
    TrainingError: 409,
    QueueFull: 429,
    GrammarFailed: 400,
    ServingError: 503,
    StoreError: 503,
    SharedLLMError: 500,
}

_TYPES = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}
_PLAIN = {
    404: ("There is nothing at this address", "not_found"),
    405: ("This address does not take that method", "method_not_allowed"),
}
_CODES = {408: "body_too_slow", 413: "body_too_long"}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
        "sharedllm": {"type": "object"},
    },
}
_CONTENT = {"application/json": {"schema": _ERROR}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request was refused; the message says why.", "content": _CONTENT},
    "5XX": {"description": "The server could not answer.", "content": _CONTENT},
}
"""The OpenAPI of every refusal."""


class Refused(SharedLLMError):
    """What only HTTP refuses: a status, and the parameter at fault if one is."""

    def __init__(self, status: int, code: str, message: str, *, remedy: str, param: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.code = code
        self.param = param


def code_of(error: Exception) -> str:
    """``UnknownUser`` as ``unknown_user``."""
    return error.code if isinstance(error, Refused) else re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def param_of(error: Exception) -> str | None:
    """The parameter at fault, if one is."""
    return error.param if isinstance(error, Refused) else None


def status_of(error: SharedLLMError) -> int:
    """The status that an error is answered with: its own, or that of the closest class in `STATUS`."""
    if isinstance(error, Refused):
        return error.status
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def told(error: SharedLLMError, routing: Mapping[str, Any]) -> dict[str, Any]:
    """The body, or an event of a stream. ``routing`` is the ``sharedllm`` object, empty while nothing is decided."""
    status = status_of(error)
    return _object(status, public(error), code_of(error), param_of(error), routing)


def refusal(error: SharedLLMError, routing: Mapping[str, Any]) -> Response:
    """The whole response to an error; see `told`."""
    status = status_of(error)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, QueueFull):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif isinstance(error, StoreBusy):
        headers["Retry-After"] = "1"
    if status in (409, 410, 500, 504):
        # OpenAI's clients would send these again by themselves, and get the same answer.
        headers["X-Should-Retry"] = "false"
    return _response(status, told(error, routing), headers)


def unforeseen(routing: Mapping[str, Any]) -> Response:
    """The response to an error that nobody expected; see `told`."""
    message = "Something went wrong in the server. It was logged."
    return _response(500, _object(500, message, "internal_error", None, routing))


def gone() -> Response:
    """For a client that went away. Nobody reads it."""
    return Response(status_code=GONE)


def invalid(errors: Sequence[Mapping[str, Any]]) -> Refused:
    """The first of pydantic's complaints, by the name of the parameter; what the caller wrote is not repeated."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "path", "query", "header")]
    same = [error["msg"] for error in errors if error["loc"][:1] == first["loc"][:1]]
    if first["type"] in ("unsupported_parameter", UNKNOWN_PARAMETER):
        name = ".".join([*where, first["ctx"]["name"][:PARAM_CHARACTERS]])
        if first["type"] == UNKNOWN_PARAMETER:
            return Refused(
                400, UNKNOWN_PARAMETER, f"{name!a} is not a parameter here", remedy="Leave it out.", param=name
            )
        return Refused(
            400,
            "unsupported_parameter",
            f"{name!a} is not supported",
            remedy="Leave it out, or at its neutral value.",
            param=name,
        )
    name = ".".join(where) if len(same) == 1 else "".join(where[:1])
    if first["type"] == "missing":
        return Refused(400, "missing_parameter", f"{name!a} is missing", remedy="Give it.", param=name)
    message = "; or: ".join(dict.fromkeys(same[:4]))
    where_at = f"{name!a}: " if name else "The body: "
    return Refused(400, "invalid_value", f"{where_at}{message}", remedy="Correct it.", param=name or None)


def on_error(request: Request, error: Exception) -> Response:
    """Answer any error that is raised on purpose; for `FastAPI.add_exception_handler`."""
    record = request.scope["record"]
    if isinstance(error, RequestValidationError):
        error = invalid(error.errors())
    if isinstance(error, SharedLLMError):
        record.refused = error
        record.ended(status_of(error), code_of(error), param_of(error))
        return refusal(error, record.told)
    if isinstance(error, HTTPException):
        message, code = _PLAIN.get(error.status_code, (error.detail, _CODES.get(error.status_code, "invalid_request")))
        record.ended(error.status_code, code)
        headers = dict(error.headers or {})
        return _response(error.status_code, _object(error.status_code, message, code, None, {}), headers)
    if isinstance(error, ClientDisconnect):
        record.ended(GONE, "client_gone")
        return gone()
    raise error


def _object(status: int, message: str, code: str, param: str | None, routing: Mapping[str, Any]) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    error = {"message": message[:MESSAGE_CHARACTERS], "type": kind, "param": param, "code": code}
    return {"error": error} | ({"sharedllm": routing} if routing else {})


def _response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # Escapes leave no character that UTF-8 cannot hold, whatever the caller named a parameter.
    return Response(json.dumps(body), status, headers, media_type="application/json")
