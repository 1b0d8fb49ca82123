"""The decision which adapter answers a request.

One user, one adapter, their own: decided by Bet 61 (docs/bets/61.md). Whether an average of users' adapters may stand
in for it is decided by Bet 54, and whether a mixture of them may answer for an unknown user by Bet 55 (docs/bets/54.md
and 55.md); nothing here does either. Where no release answers, the base does as it is, and if it has a prior that is
what it is called.
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
        kind: ``"own"`` for the user's own release, and where there is none to apply, ``"prior"`` for a base that has
            a prior and ``"base"`` for one that has none.
        user: who asked.
        release: the release to apply; None exactly when ``kind`` is not ``"own"``.
        reason: one sentence for the user.
        refusal: the error that the base stands in for; None where nothing was refused.
    """

    kind: Literal["own", "prior", "base"]
    user: str
    release: Release | None
    reason: str
    refusal: SharedLLMError | None = None


def without_release(user: str, why: str, *, prior: bool, refusal: SharedLLMError | None = None) -> Route:
    """The base as it is, which is called the prior where it has one.

    Args:
        user: who asks.
        why: how the sentence goes on that says who answers.
        prior: whether the base has a prior.
        refusal: the error that it stands in for.
    """
    kind: Literal["prior", "base"] = "prior" if prior else "base"
    return Route(kind, user, None, f"The {kind} answers{why}", refusal)


def route(
    store: Store,
    user: str,
    *,
    base: str | None = None,
    prior: bool = False,
    layout: Layout | None = None,
    fallback: bool = False,
    base_only: bool = False,
) -> Route:
    """Decide who answers ``user``: their served release or, if the caller allows it, the base. Never anybody else's.

    Args:
        store: where releases are.
        user: who asks.
        base: fingerprint of the base that is loaded; a release made for another one is refused. None checks nothing.
        prior: whether that base has a prior, which then is what answers in a release's place.
        layout: what is served on it; a release of another format is refused. None serves any that is known here.
        fallback: whether the base may answer where the user's release cannot; the decision then says why.
        base_only: whether they ask for the base itself; only who is revoked is not answered so.

    Raises:
        UnknownUser, NotServed, CorruptAdapter, WrongBase, FormatMissing: the release cannot answer, and there is no
            fallback. Whoever was put back to the base needs none.
        InvalidUserId, StoreError: nothing could be decided; no fallback hides that.
    """
    if base_only and not is_revoked(store, user):
        return without_release(user, ", as asked.", prior=prior)
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
        return without_release(user, f". {refusal.message}", prior=prior, refusal=refusal)
    return Route("own", user, release, f"Release {release.number} of {user!r} answers.")


def is_revoked(store: Store, user: str) -> bool:
    """Whether a user is not to be served; False of somebody whom the store does not know."""
    try:
        return store.user(user).state == "revoked"
    except UnknownUser:
        return False
