"""The decision which adapter answers a request.

One user, one adapter, their own: decided by Bet 61 (docs/bets/61.md). Whether an average of users' adapters may stand
in for it is decided by Bet 54, and whether a mixture of them may answer for an unknown user by Bet 55 (docs/bets/54.md
and 55.md); nothing here does either.
"""

from dataclasses import dataclass
from typing import Literal

from sharedllm.adapters.adapter import check_fits, check_installed
from sharedllm.adapters.layouts import Layout
from sharedllm.errors import AdapterError, NotServed, ResetToBase, SharedLLMError, UnknownUser, WrongBase
from sharedllm.store import Release, Store


@dataclass(frozen=True)
class Route:
    """Who answers.

    Attributes:
        kind: ``"own"`` for the user's own release, ``"base"`` for the base as it is.
        user: who asked.
        release: the release to apply; None exactly when ``kind`` is ``"base"``.
        reason: one sentence for the user.
        refusal: the error that the base stands in for; None where nothing was refused.
    """

    kind: Literal["own", "base"]
    user: str
    release: Release | None
    reason: str
    refusal: SharedLLMError | None = None


def route(
    store: Store, user: str, *, base: str | None = None, layout: Layout | None = None, fallback: bool = False
) -> Route:
    """Decide who answers ``user``: their served release or, if the caller allows it, the base. Never anybody else's.

    Args:
        store: where releases are.
        user: who asks.
        base: fingerprint of the base that is loaded; a release made for another one is refused. None checks nothing.
        layout: what is served on it; a release of another format is refused. None serves any that is known here.
        fallback: whether the base may answer where the user's release cannot; the decision then says why.

    Raises:
        UnknownUser, NotServed, CorruptAdapter, WrongBase, FormatMissing: the release cannot answer, and there is no
            fallback. Whoever was put back to the base needs none.
        InvalidUserId, StoreError: nothing could be decided; no fallback hides that.
    """
    try:
        release = store.served(user)
        if base is not None and release.adapter.base != base:
            raise WrongBase(
                f"Release {release.number} of {user!r} was made for base {release.adapter.base[:12]!r},"
                f" not {base[:12]!r}",
                remedy="Load the base it was made for (--base), or train them on this one: sharedllm train USER FILES.",
            )
        check_installed(release.adapter)
        if layout is not None:
            check_fits(release.adapter, layout)
    except (UnknownUser, NotServed, AdapterError) as refusal:
        if not fallback and not isinstance(refusal, ResetToBase):
            raise
        return Route("base", user, None, f"The base answers. {refusal.message}", refusal)
    return Route("own", user, release, f"Release {release.number} of {user!r} answers.")
