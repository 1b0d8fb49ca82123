"""Several users' vectors as one. Not something that serving does; Bet 54 decides whether it may (docs/bets/54.md)."""

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput


def average(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The elementwise mean of rows of one base and format.

    Averaging deviations is averaging gains, since every user's gain is ``g_base * (1 + s)`` with the same ``g_base``.

    Args:
        table: float32 ``[rows, P]``.

    Returns:
        float32 ``[P]``.

    Raises:
        InvalidInput: there is no row, or a value is not finite.
    """
    if table.ndim != 2 or not len(table):
        raise InvalidInput(
            f"A table of shape {list(table.shape)} has no mean row", remedy="Give at least one row of values."
        )
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise InvalidInput(f"Row {row} holds a value that is not finite", remedy="Leave that adapter out.")
    mean: npt.NDArray[np.float32] = table.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
