"""Whether an adapter may be used with a base."""

from sharedllm.adapters.adapter import Adapter
from sharedllm.adapters.layouts import Layout
from sharedllm.errors import WrongBase


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
