"""A body of bytes to what was asked, or a refusal that names what is wrong."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from sharedllm.http.refusals import Refused, invalid

T = TypeVar("T", bound=BaseModel)


async def read(request: Request, model: type[T]) -> T:
    """The body as ``model``.

    Raises:
        Refused: another content type, which a page in a browser could send unasked; not JSON, where NaN, unpaired
            surrogates and deep nesting are not JSON either; or not the parameters that ``model`` has.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "unsupported_media_type", "The body is not JSON", remedy="Send it as application/json.")
    try:
        value = from_json(await request.body(), allow_inf_nan=False)
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
