"""Text that is nobody's in particular, as windows: what an adapter costs outside its user's own is measured on it."""

import numpy as np
import numpy.typing as npt

from sharedllm.base.loading import Base
from sharedllm.text import samples
from sharedllm.text.splits import split_text
from sharedllm.text.windows import text_windows


def general_windows(base: Base, block: str, window: int) -> npt.NDArray[np.int64]:
    """General text as int64 ``[windows, window]``: its ``validation`` block for the gate, ``heldout`` for reports.

    Raises:
        DownloadError: the package it comes in cannot be fetched.
    """
    return text_windows(getattr(split_text(samples.general_text()), block), base.encode, window)
