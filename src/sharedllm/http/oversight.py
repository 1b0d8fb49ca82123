"""What an operator looks after: the audit log, everybody's trainings, and what is wrong and what to do about it."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import Query, Request

from sharedllm.errors import InvalidInput
from sharedllm.http.jobs import WAITING
from sharedllm.http.operator import in_turn, operator_router
from sharedllm.http.service import Service
from sharedllm.http.training_job import JobState
from sharedllm.store.contract import ENTRIES_PER_PAGE

JOBS_PER_PAGE = 100
FREE_SHARE, FREE_BYTES = 0.05, 1024**3
"""A disk with less than either left is told."""

router = operator_router("/v1")


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong.

    Attributes:
        code: what kind, the same whenever it is found.
        severity: ``error`` where somebody is not served as they should be, ``warning`` where that may come.
        message: what is so.
        remedy: what to do.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    remedy: str


@router.get("/audit")
async def audit_log(
    request: Request,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=ENTRIES_PER_PAGE)] = ENTRIES_PER_PAGE,
) -> dict[str, Any]:
    """A page of what happened in an encrypted store, newest first; `next` is what to send as `before`, null at the end.

    It names nobody, and is verified on the command line (`sharedllm audit verify`).
    """

    def work(service: Service) -> dict[str, Any]:
        entries = service.store.audit_log(before=before, limit=limit)
        more = bool(entries) and entries[-1].place > 1
        return {"entries": [asdict(each) for each in entries], "next": entries[-1].place if more else None}

    return await in_turn(request, work)


@router.get("/jobs")
async def trainings(
    request: Request,
    state: JobState | None = None,
    skip: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=JOBS_PER_PAGE)] = JOBS_PER_PAGE,
) -> dict[str, Any]:
    """Everybody's trainings that this server remembers, newest first, and how many there are in each state."""

    def work(service: Service) -> dict[str, Any]:
        if service.jobs is None:
            raise InvalidInput("This server does not train", remedy="Use `sharedllm train` where its store is.")
        everything = service.jobs.all()
        counts = Counter(job.state for job in everything)
        found = [job for job in everything if state in (None, job.state)]
        page = found[skip : skip + limit]
        return {"jobs": [job.as_dict() for job in page], "counts": counts, "more": len(found) > skip + limit}

    return await in_turn(request, work)


@router.get("/findings")
async def findings(request: Request) -> dict[str, Any]:
    """What is wrong with this server and what to do, the worst first; empty where all is well. And how many people.

    They are counted again no sooner than twenty times as long as it took the last time.
    """

    def work(service: Service) -> dict[str, Any]:
        count = service.headcounts.latest()
        found = [*_of_engine(service), *_of_disks(service), *_of_jobs(service), *_of_people(count.not_served)]
        found.sort(key=lambda each: each.severity)
        return {"findings": [asdict(each) for each in found], "people": asdict(count)}

    return await in_turn(request, work)


def _of_engine(service: Service) -> Iterator[Trouble]:
    engine, counters = service.engine, service.engine.counters
    if not engine.healthy:
        yield Trouble(
            "engine_failed",
            "error",
            "The engine has failed, and nobody is answered",
            "Its log says why; start it again.",
        )
    if counters.waiting >= engine.limits.waiting // 2:
        yield Trouble(
            "queue",
            "warning",
            f"{counters.waiting:,} requests wait, and no more than {engine.limits.waiting:,} may",
            "Serve from another machine as well, or let more run at once (--running).",
        )
    if (
        counters.table_room
        and counters.table_rows == counters.table_room
        and counters.table_misses > counters.table_hits
    ):
        yield Trouble(
            "table_full",
            "warning",
            f"All {counters.table_room:,} rows for adapters are taken, and most requests find theirs not there",
            "Give adapters more memory (--table-mb).",
        )
    if counters.cache_room and counters.cache_tokens > 0.9 * counters.cache_room and counters.waiting:
        yield Trouble(
            "cache_full",
            "warning",
            f"{counters.cache_tokens:,} of {counters.cache_room:,} tokens have keys and values, and requests wait",
            "Hold more (--cache-tokens), or have shorter answers asked for.",
        )


def _of_disks(service: Service) -> Iterator[Trouble]:
    for what, place in service.disks.items():
        try:
            disk = shutil.disk_usage(place)
        except OSError:
            continue
        if disk.free < FREE_BYTES or disk.free < FREE_SHARE * disk.total:
            yield Trouble(
                "disk",
                "warning",
                f"The disk of {what} has {disk.free / 1e9:.1f} GB left, {disk.free / disk.total:.0%}",
                "Free some room on it: a full one refuses every change.",
            )


def _of_jobs(service: Service) -> Iterator[Trouble]:
    if service.jobs is None:
        return
    failed, waiting = (len(service.jobs.all(state=state)) for state in ("failed", "queued"))
    if failed:
        yield Trouble(
            "trainings_failed",
            "error",
            f"{failed:,} of the trainings that this server remembers failed",
            "Each says why; what was done is kept, and the same text sent again goes on from there.",
        )
    if waiting >= WAITING:
        yield Trouble(
            "trainings_wait",
            "warning",
            f"{waiting} trainings wait, and no more may",
            "Whoever sends another is told to come back; train many on the command line (sharedllm train --manifest).",
        )


def _of_people(not_served: int) -> Iterator[Trouble]:
    if not_served:
        yield Trouble(
            "not_served",
            "warning",
            f"{not_served:,} active people have no release that answers them",
            "Look at what their gates say; more of their own text helps most.",
        )
