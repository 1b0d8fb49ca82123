"""What one user's adapter is, apart from how it is stored, trained or served."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.layouts import Layout
from sharedllm.errors import WrongBase

UNTESTED = "held back: imported without text to test it on"
"""The gate's reason for an adapter that came alone: what it was tested on elsewhere does not count here."""


@dataclass(frozen=True)
class GateOutcome:
    """What the gate found for one adapter; kept with every release.

    Attributes:
        passed: whether the adapter may be served.
        reason: one sentence for the user, in either case.
        figures: the numbers behind it, as plain JSON values.
    """

    passed: bool
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``passed`` or ``held back``: what a reason begins with, before a colon."""
        return "passed" if self.passed else "held back"

    @property
    def finding(self) -> str:
        """The reason without the verdict, for where that is said already."""
        return self.reason.removeprefix(f"{self.verdict}: ")


@dataclass(frozen=True, eq=False)
class Adapter:
    """One vector for one base.

    Attributes:
        format: name of the vector layout, e.g. ``"norm"``.
        base: fingerprint of the base it was trained on.
        values: float32 ``[P]``, the relative deviations ``s`` in ``y = norm(x) * (1 + s)``; zeros are the base itself.
        provenance: where it came from (recipe, text hash, seed, version), as plain JSON values.
    """

    format: str
    base: str
    values: npt.NDArray[np.float32]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def check_fits(adapter: Adapter, layout: Layout) -> None:
    """Refuse an adapter that was not made for the layout's base and format.

    Raises:
        WrongBase: another base, another format, or not ``layout.size`` values.
    """
    if adapter.base != layout.base:
        raise WrongBase(
            f"The adapter was made for base {adapter.base[:12]}, and this base is {layout.base[:12]}",
            remedy="Use the base it was made for (--base), or train again on this one.",
        )
    if adapter.format != layout.format:
        raise WrongBase(
            f"The adapter's format is {adapter.format!r}, and {layout.format!r} is expected",
            remedy=f"Use the layout of {adapter.format!r}.",
        )
    if adapter.values.shape != (layout.size,):
        raise WrongBase(
            f"The adapter's values have shape {list(adapter.values.shape)}, and a {layout.format!r} adapter of this"
            f" base has {layout.size:,} values",
            remedy="Train it again on this base.",
        )
