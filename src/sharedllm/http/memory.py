"""Memory that is free but that the C library keeps, given back to the system.

Tensors of ever other sizes leave holes behind them, which glibc keeps for itself: a busy server would grow by hundreds
of megabytes in some minutes with nothing in them.
"""

import asyncio
import ctypes

from starlette.concurrency import run_in_threadpool

SECONDS = 10.0
"""Between two times; one takes some tens of milliseconds."""


async def give_back_often() -> None:
    """Give free memory back now and then, until cancelled."""
    while True:
        await asyncio.sleep(SECONDS)
        await run_in_threadpool(give_back)


def give_back() -> None:
    """Give free memory back, where the C library has a call for it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
