"""Text that comes week by week: what training goes on from, and what is left of the text before.

Nobody keeps a text, so what a release was made from is known by what it left behind: the release's row, its gate's
losses, how many tokens it read and their hashes. New text is trained from that row, and published only if that release
still answers by then, as one that was grown from another would leave out what came meanwhile.

No curvature of the old text is kept, to hold the row where it mattered (Kirkpatrick et al. 2017, section 2.1). It would
take as many bytes as the row. In the one run that was measured (``benchmarks/results/growing_lead.json``) the curvature
of any piece of text said much the same as that of the old one, and that losses rise where they mostly fell: one
person's texts have most of what is learnt in common, and a sum of squares knows no direction. What the release had
gained on its held-out windows, a number that its gate has anyway, foretold what became of those in all three cases,
within intervals of three to four per cent to either side (`sharedllm.evaluation.intervals.foretold`).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sharedllm.adapters.provenance import GREW_FROM, grew_from, text_in
from sharedllm.errors import InvalidInput, NotServed, UnknownUser, WrongBase
from sharedllm.store.rules import erased_meanwhile

if TYPE_CHECKING:
    from sharedllm.store.contract import Release, Store
    from sharedllm.training.recipes import Recipe

KEPT_HASHES = 40
"""Of texts that went before: a release says no more of them, so that its provenance stays small."""


def begun_from(store: "Store", user: str, base: str, recipe: "Recipe") -> "Release":
    """The release that new text is added to: the one that answers.

    Args:
        store: where releases are.
        user: whose.
        base: the base's fingerprint.
        recipe: how the new text would be trained.

    Raises:
        UnknownUser, NotServed, ResetToBase: there is none.
        WrongBase: it is of another base or format.
        CorruptAdapter: it is damaged.
    """
    release = store.served(user)
    if release.adapter.base != base:
        raise WrongBase(
            f"Release {release.number} of {user!r}, to which text is to be added, was made for base"
            f" {release.adapter.base[:12]}, and this base is {base[:12]}",
            remedy="Use the base it was made for (--base), or train on all of their text, without --add.",
        )
    if release.adapter.format != recipe.method:
        raise WrongBase(
            f"Release {release.number} of {user!r}, to which text is to be added, has the format"
            f" {release.adapter.format!r}, and {recipe.method!r} is to be trained",
            remedy=f"Train in its format (--format {release.adapter.format}), or on all of their text, without --add.",
        )
    return release


def texts_behind(release: "Release") -> list[str]:
    """The SHA-256 of every text that a release was made from, oldest first, as far as it says."""
    provenance = release.adapter.provenance
    own = text_in(provenance)
    before = (grew_from(provenance) or {}).get("texts", [])
    return [*before, *([own] if own else [])]


def tokens_behind(release: "Release") -> int | None:
    """How many tokens a release was trained on, all texts together; None where that is not known."""
    provenance = release.adapter.provenance
    begun = grew_from(provenance)
    own, before = provenance.get("tokens"), 0 if begun is None else begun.get("tokens")
    return own + before if isinstance(own, int) and isinstance(before, int) else None


def gain_behind(release: "Release") -> float | None:
    """What a release gains over the base on held-out windows of all text that it was made from, in nats per token.

    It is what its gate measured; of text before the last, what its gate expected of that, weighted by tokens.

    Returns:
        None where that is not known, as of what came as a file without text.
    """
    own = release.gate.figures.get("own")
    if not isinstance(own, dict):
        return None
    gain = math.log(own["base"] / own["adapter"])
    begun, grown = grew_from(release.adapter.provenance), release.gate.figures.get("grown")
    if begun is None or not isinstance(grown, dict) or grown["old_change"] is None:
        return gain
    old = grown["old_gain"] - math.log1p(-grown["old_change"]["estimate"])
    new_tokens, old_tokens = release.adapter.provenance.get("tokens"), begun.get("tokens")
    if not isinstance(new_tokens, int) or not isinstance(old_tokens, int):
        return gain
    return float((new_tokens * gain + old_tokens * old) / (new_tokens + old_tokens))


def with_origin(provenance: Mapping[str, Any], start: "Release") -> dict[str, Any]:
    """The provenance of what was grown from a release, which says so."""
    origin = {
        "release": start.number,
        "id": start.id,
        "texts": texts_behind(start)[-KEPT_HASHES:],
        "tokens": tokens_behind(start),
    }
    return {**provenance, GREW_FROM: origin}


def check_still_answers(store: "Store", release: "Release") -> None:
    """Refuse to put something in a release's place if another has come there.

    Raises:
        InvalidInput: it does not answer any more.
        ErasedMeanwhile: the user is gone.
        StoreError: the store does not answer.
    """
    served = None
    try:
        served = store.served(release.user).id
    except NotServed:
        pass
    except UnknownUser:
        raise erased_meanwhile(release.user) from None
    if served != release.id:
        raise InvalidInput(
            f"Another release of {release.user!r} began to answer, or none does, while this was made from release"
            f" {release.number}",
            remedy="Run it again.",
        )
