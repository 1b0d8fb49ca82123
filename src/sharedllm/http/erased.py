"""Users whom another process has erased: what they have waiting or running ends, and their rows leave the device.

So do their trainings, with the texts of those that wait, and what killed ones have left.

Somebody may be erased and come back between two looks, so it is their releases that are looked for in the store.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, MutableMapping
from datetime import datetime
from itertools import count

from starlette.concurrency import run_in_threadpool

from sharedllm.errors import AdapterError, CorruptStore, UnknownUser
from sharedllm.http.logs import log
from sharedllm.http.service import Service
from sharedllm.training.checkpoints import checkpoint_folder, forget_erased

SECONDS = 1.0
"""How long an erased user's request goes on at most, beside the time it takes to ask."""
AT_ONCE = 256
"""Releases without requests that one round asks about."""
SWEEP_EVERY = 60
"""Rounds from one look at the checkpoints of trainings to the next."""

Verified = MutableMapping[tuple[str, str], datetime]
"""Users and releases that the store was seen to hold, and since when it had held that user then."""


async def watch(service: Service) -> None:
    """Ask the store again and again, until cancelled: about whatever answers a request, and the others in turn."""
    resting: list[tuple[str, str]] = []
    verified: dict[tuple[str, str], datetime] = {}
    for turn in count():
        await asyncio.sleep(SECONDS)
        try:
            if service.jobs is not None:
                await run_in_threadpool(service.jobs.end_erased, service.store)
                if turn % SWEEP_EVERY == 0:
                    await run_in_threadpool(forget_erased, service.store, checkpoint_folder())
            running, held = await run_in_threadpool(service.engine.releases)
            verified = {pair: since for pair, since in verified.items() if pair in running or pair in held}
            resting = resting or sorted(held - running)
            asked, resting = resting[:AT_ONCE], resting[AT_ONCE:]
            await run_in_threadpool(stop_erased, service, [*running, *asked], verified)
        except Exception as error:
            # Whatever it was, a watch that ended would let erased users go on, so it asks again in a moment.
            log.log(logging.WARNING, {"event": "watch", "error": type(error).__name__})


def stop_erased(service: Service, asked: Iterable[tuple[str, str]], verified: Verified) -> None:
    """End everything of those users of whom the store no longer holds one of these releases.

    Args:
        service: whose store is asked, and whose engine is told.
        asked: users and releases.
        verified: what is known from before, and what is found now.

    Raises:
        AdapterError, CorruptStore: what the store holds of somebody is damaged; the others were asked all the same.
        StoreError: the store does not answer.
    """
    releases: defaultdict[str, set[str]] = defaultdict(set)
    for user, release in asked:
        releases[user].add(release)
    damage: Exception | None = None
    for user, theirs in releases.items():
        try:
            if not _holds(service, user, theirs, verified):
                service.forget(user)
        except (AdapterError, CorruptStore) as error:
            damage = error
    if damage is not None:
        raise damage


def _holds(service: Service, user: str, releases: set[str], verified: Verified) -> bool:
    try:
        since = service.store.user(user).created_at
        # Reading all releases takes longer, and can be spared: one that was seen goes for newer ones or with the user.
        if all(verified.get((user, release)) == since for release in releases):
            return True
        held = releases & {each.id for each in service.store.every_release(user)}
    except UnknownUser:
        return False
    verified.update(((user, release), since) for release in held)
    return held == releases
