"""Users whom another process has erased: what they have running here ends, and their rows leave the device."""

import asyncio
import logging
from collections.abc import Iterable

from starlette.concurrency import run_in_threadpool

from sharedllm.errors import SharedLLMError, UnknownUser
from sharedllm.http.logs import log
from sharedllm.http.service import Service

SECONDS = 1.0
"""How long an erased user's request goes on at most, beside the time it takes to ask."""
AT_ONCE = 256
"""Users without running requests whom one round asks about."""


async def watch(service: Service) -> None:
    """Ask the store again and again, until cancelled: about everybody who runs, and about the others in turn."""
    resting: list[str] = []
    while True:
        await asyncio.sleep(SECONDS)
        running, held = await run_in_threadpool(service.engine.owners)
        resting = resting or sorted(held - running)
        asked, resting = resting[:AT_ONCE], resting[AT_ONCE:]
        try:
            await run_in_threadpool(stop_erased, service, [*running, *asked])
        except SharedLLMError as error:
            # A store that does not answer now is asked again in a moment.
            log.log(logging.WARNING, {"event": "store", "error": type(error).__name__})


def stop_erased(service: Service, users: Iterable[str]) -> None:
    """End what runs for those of ``users`` whom the store no longer holds.

    Raises:
        StoreError: the store does not answer.
    """
    for user in users:
        try:
            service.store.user(user)
        except UnknownUser:
            service.erased(user)
