"""Which base a job works on where nobody named one."""

from typing import TYPE_CHECKING

from sharedllm.base.made import made_bases
from sharedllm.base.resolve import DEFAULT_BASE, built_in_bases, is_pulled, resolve_base
from sharedllm.errors import CorruptAdapter

if TYPE_CHECKING:
    from sharedllm.store.contract import Store


def default_base(store: "Store | None" = None) -> str:
    """The base whose adapters a store serves, if it is built in or was made here; of any other store the default.

    An adapter means nothing on another base than its own. So a store that was begun on one base goes on with it, also
    when a later version has a better default, until its people are trained on another (``--base``).

    Args:
        store: None where no adapter is asked for.

    Raises:
        StoreError: it cannot be read.
        BaseError: one of these bases cannot be read.
    """
    from sharedllm.base.fingerprint import fingerprint

    answers = store.answers() if store is not None else iter(())
    served = next((release.adapter.base for _, release in answers if not isinstance(release, CorruptAdapter)), None)
    if served is not None:
        for name in [*filter(is_pulled, built_in_bases()), *made_bases()]:
            if fingerprint(resolve_base(name)) == served:
                return name
    return DEFAULT_BASE
