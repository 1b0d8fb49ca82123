"""API keys for an operator: who has which, made and revoked alone or by a list, all of it or nothing.

Secrets are in the answer that makes them and nowhere else: not in an address, a log, the audit log or a cache.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request, Response

from sharedllm.errors import InvalidInput
from sharedllm.http.error_responses import Refused
from sharedllm.http.operator import in_turn, operator_router
from sharedllm.http.service import Service
from sharedllm.operations.key_lists import as_csv, holders_of_table, ids_of_table
from sharedllm.store.api_keys import KEYS_PER_PAGE, Keys

T = TypeVar("T")

KEYS_AT_ONCE = 2_000
"""Of one list: whoever else would write to the store waits meanwhile."""
_LIST = "The list"
_COLUMNS = ("user", "name")
_BODY = {"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}}
_MADE: dict[int | str, dict[str, Any]] = {201: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

router = operator_router("/v1/keys")


@router.get("")
async def page(
    request: Request,
    user: str | None = None,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Annotated[int, Query(ge=1, le=KEYS_PER_PAGE)] = KEYS_PER_PAGE,
) -> dict[str, Any]:
    """A page of keys, oldest first, revoked ones too, and never a secret; `next` is what to send as `after`."""

    def work(keys: Keys) -> dict[str, Any]:
        found = keys.page(user=user, after=after, limit=limit)
        return {"keys": [asdict(key) for key in found.page], "next": found.next}

    return await _with_keys(request, work)


@router.post("", status_code=201, response_class=Response, responses=_MADE, openapi_extra=_BODY)
async def invite(request: Request) -> Response:
    """Make a key for everybody in a list: CSV with a column `user` or `name`, and perhaps `label`.

    The answer is CSV of `user`, `id`, `label` and `secret`. It is given this once: if it is lost, revoke and make anew.
    Where a line cannot be used it is named, and no key is made. Keys of services are made on the command line alone.
    """
    text = await _list(request)

    def work(keys: Keys) -> str:
        holders = holders_of_table(text, _LIST, columns=_COLUMNS)
        _check_length(len(holders))
        return as_csv(keys.create_many(holders))

    made = await _with_keys(request, work)
    return Response(made, 201, {"Cache-Control": "no-store"}, media_type="text/csv; charset=utf-8")


@router.post("/revoke", openapi_extra=_BODY)
async def revoke_many(request: Request) -> dict[str, Any]:
    """Revoke the keys of a list: CSV with a column `id` of keys, or else `user` or `name` of whom all keys go.

    Where a line names no key, no key is revoked. What an invitation answered can be sent as it is.
    """
    text = await _list(request)

    def work(keys: Keys) -> int:
        ids = ids_of_table(text, _LIST)
        if ids is None:
            users = [user for user, _ in holders_of_table(text, _LIST, columns=_COLUMNS)]
            _check_length(len(users))
            return keys.revoke_of(users)
        _check_length(len(ids))
        keys.revoke_many(ids)
        return len(set(ids))

    return {"revoked": await _with_keys(request, work)}


@router.delete("/{key:part}")
async def revoke(request: Request, key: str) -> dict[str, Any]:
    """Let a key, by its id, open nothing any more, from the next request on. Revoking again changes nothing."""
    await _with_keys(request, lambda keys: keys.revoke(key))
    return {"id": key, "revoked": 1}


async def _with_keys(request: Request, work: Callable[[Keys], T]) -> T:
    def with_keys(service: Service) -> T:
        if service.keys is None:
            raise InvalidInput("This server knows nobody by an API key", remedy="Start it with a store and keys.")
        return work(service.keys)

    return await in_turn(request, with_keys)


async def _list(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise Refused(415, "unsupported_media_type", "The body is not CSV", remedy="Send it as text/csv.")
    try:
        return bytes(await request.scope["body"].whole("")).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"{_LIST} is not UTF-8", remedy="Save it as CSV in UTF-8.") from None


def _check_length(lines: int) -> None:
    if lines > KEYS_AT_ONCE:
        raise InvalidInput(
            f"{_LIST} has {lines:,} lines, and one may have {KEYS_AT_ONCE:,}", remedy="Send it in parts."
        )
