"""int8, one scale a tensor: the scheme that Bet 53 measures.

What is quantised decides what is lost. The source documents quantise full gains ``g = g_base * (1 + s)``: their scale
follows the largest gain of a site, however small the user's deviation from it is. Quantising the deviations ``s``,
which is what we store, makes the scale follow the user's own signal. `quantise` does either, since it needs no more
than a row and its widths; `through_gains` is the documents' way, from deviations to deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput

_LARGEST = 127


@dataclass(frozen=True, eq=False)
class Int8:
    """A row in int8.

    Attributes:
        values: int8 ``[P]``, each within ±127.
        scales: float32 ``[tensors]``.
        widths: values of each tensor, in the row's order.
    """

    values: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    widths: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of the values and the scales: ``P + 4 * tensors``."""
        return self.values.nbytes + self.scales.nbytes

    def dequantised(self) -> npt.NDArray[np.float32]:
        """``value * scale``, float32 ``[P]``."""
        return self.values.astype(np.float32) * np.repeat(self.scales, self.widths)


def quantise(values: npt.NDArray[np.float32], widths: Sequence[int]) -> Int8:
    """Round each tensor of a row to 255 levels: ``scale = max|v| / 127``, ``q = round(v / scale)``, halves to even.

    Per-tensor symmetric, as the documents' Bet 53 defines it. No value moves by more than half a scale, zeros stay
    zero, and the largest value of a tensor is at ±127.

    Args:
        values: float32 ``[P]``: deviations, gains, or any other tensors end to end.
        widths: values of each tensor, e.g. `Layout.widths`.

    Raises:
        InvalidInput: the widths do not add up to ``P``, one is no width, or a value is not finite.
    """
    if not widths or min(widths) < 1 or values.shape != (sum(widths),):
        raise InvalidInput(
            f"Values of shape {list(values.shape)} are not {len(widths)} tensors of {sum(widths):,} values in all",
            remedy="Give one row, and the widths of its own layout.",
        )
    if not np.isfinite(values).all():
        where = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidInput(f"Value {where} is {values[where]}, which has no int8", remedy="Give finite values.")
    starts = np.cumsum([0, *widths[:-1]])
    scales = (np.maximum.reduceat(np.abs(values), starts) / _LARGEST).astype(np.float32)
    # A tensor of zeros, or of numbers so small that their scale is none, becomes zeros.
    divisors = np.repeat(np.where(scales > 0, scales, np.inf), widths).astype(np.float64)
    rounded = np.rint(values / divisors).clip(-_LARGEST, _LARGEST)
    return Int8(rounded.astype(np.int8), scales, tuple(widths))


def through_gains(
    values: npt.NDArray[np.float32], gains: npt.NDArray[np.float32], widths: Sequence[int]
) -> npt.NDArray[np.float32]:
    """The deviations that are left when the full gains ``g_base * (1 + s)`` are quantised instead of ``s``.

    A base gain of zero silences its channel whatever the deviation, which becomes zero.

    Args:
        values: float32 ``[P]``, the deviations ``s``.
        gains: float32 ``[P]``, the base's own, e.g. from `site_gains`.
        widths: values of each tensor.

    Returns:
        float32 ``[P]``, deviations again: ``g_int8 / g_base - 1``.

    Raises:
        InvalidInput: see `quantise`; or there is not one gain for each value.
    """
    if gains.shape != values.shape:
        raise InvalidInput(
            f"{list(gains.shape)} gains do not go with {list(values.shape)} deviations",
            remedy="Give the base's gain for each value.",
        )
    kept = quantise(gains * (1 + values), widths).dequantised()
    deviations: npt.NDArray[np.float32] = np.divide(kept, gains, out=np.ones_like(gains), where=gains != 0) - 1
    return deviations
