"""What libraries would keep of a busy server's memory: it would grow by hundreds of megabytes in some minutes.

Tensors of ever other sizes leave holes behind them, which glibc keeps for itself with nothing in them; and code is kept
for every shape of a product.
"""

import asyncio
import ctypes
import os

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


def bound_shapes() -> None:
    """Bound what is kept of the shapes that were multiplied; to be called before torch is imported.

    oneDNN, and torch on top of it, keep code and memory for 1,024 of a kind, and passes have as many shapes as lengths.
    What was set outside stays.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "128")
