"""What one user's adapter is, apart from how it is stored, trained or served."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.formats.registry import OURS, brought_by, format_names
from sharedllm.adapters.layouts import Layout
from sharedllm.adapters.provenance import IMPORTED
from sharedllm.errors import FormatMissing, WrongBase

UNTESTED = "held back: imported without text to test it on"
"""The gate's reason for an adapter that came alone: what it was tested on elsewhere does not count here."""
_PACKAGE_CHARACTERS = 100


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
        format: name of the vector format.
        base: fingerprint of the base it was trained on.
        values: float32 ``[P]``, the relative deviations ``s`` in ``y = norm(x) * (1 + s)``; zeros are the base itself.
        provenance: where it came from (recipe, text hash, seed, version), as plain JSON values.
    """

    format: str
    base: str
    values: npt.NDArray[np.float32]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def meaning(layout: Layout) -> dict[str, Any]:
    """What an adapter's provenance has to say of a format that not everybody has; empty for ours."""
    package = brought_by(layout.format)
    return {} if package == OURS else {"format": {"package": package, "sites_sha256": layout.sites_sha256}}


def check_installed(adapter: Adapter) -> None:
    """Refuse an adapter of a format that is not here.

    Raises:
        FormatMissing: its values have no meaning here.
    """
    if adapter.format not in format_names():
        raise FormatMissing(
            f"The format {adapter.format!r} is not installed here{_from(adapter)}",
            remedy="Install the package that brings it beside sharedllm, or train again in a format of"
            f" {', '.join(format_names())}.",
        )


def check_fits(adapter: Adapter, layout: Layout) -> None:
    """Refuse an adapter that was not made for the layout's base and format.

    Raises:
        WrongBase: another base, another format, not ``layout.size`` values, or they were trained at other sites.
    """
    if adapter.base != layout.base:
        raise WrongBase(
            f"The adapter was made for base {adapter.base[:12]}, and this base is {layout.base[:12]}",
            remedy="Use the base it was made for (--base), or train again on this one.",
        )
    if adapter.format != layout.format:
        raise WrongBase(
            f"The adapter's format is {adapter.format!r}, and {layout.format!r} is expected",
            remedy=f"Use what is made for {adapter.format!r}, or train or import one of the format {layout.format!r}.",
        )
    if adapter.values.shape != (layout.size,):
        raise WrongBase(
            f"The adapter's values have shape {list(adapter.values.shape)}, and a {layout.format!r} adapter of this"
            f" base has {layout.size:,} values",
            remedy="Train it again on this base.",
        )
    said = _format_in(adapter)
    if said.get("sites_sha256", layout.sites_sha256) != layout.sites_sha256:
        raise WrongBase(
            f"The adapter was trained at other sites than its format {adapter.format!r} has here{_from(adapter)}",
            remedy="Install what it was trained with, or train it again.",
        )


def _format_in(adapter: Adapter) -> Mapping[str, Any]:
    known = adapter.provenance.get(IMPORTED, adapter.provenance)
    said = known.get("format") if isinstance(known, dict) else None
    return said if isinstance(said, dict) else {}


def _from(adapter: Adapter) -> str:
    package = _format_in(adapter).get("package")
    # Of a file, this is what whoever wrote it says.
    named = isinstance(package, str) and len(package) <= _PACKAGE_CHARACTERS
    return f"; it says that it came with {package!r}" if named else ""
