"""What the store has already, so that nobody is trained twice on the same."""

from contextlib import suppress
from typing import TYPE_CHECKING

from sharedllm.adapters.provenance import grew_from, text_in
from sharedllm.errors import UnknownUser
from sharedllm.operations.grow import texts_behind
from sharedllm.training.recipes import recipe_in

if TYPE_CHECKING:
    from sharedllm.store.contract import Release, ReleaseSummary, Store
    from sharedllm.training.recipes import Recipe


def already_trained(store: "Store", base: str, user: str, text: str, recipe: "Recipe") -> "ReleaseSummary | None":
    """The user's newest release made from this very text alone, recipe and base, if there is one.

    Args:
        store: where releases are.
        base: the base's fingerprint.
        user: whose release.
        text: the text's SHA-256.
        recipe: how it would be trained.
    """
    wanted = base, text, recipe
    with suppress(UnknownUser):
        for release in store.every_release(user):
            made_from = release.base, text_in(release.provenance), recipe_in(release.provenance)
            if made_from == wanted and grew_from(release.provenance) is None:
                return release
    return None


def already_added(store: "Store", start: "Release", text: str, recipe: "Recipe") -> "Release | ReleaseSummary | None":
    """The release that holds a text already: the start itself, or the newest that was tried from there.

    Args:
        store: where releases are.
        start: what the text would be added to.
        text: its SHA-256.
        recipe: how it would be trained. A text that is in the start is there however it was trained.
    """
    if text in texts_behind(start):
        return start
    wanted = start.id, text, recipe
    for release in store.every_release(start.user):
        origin = grew_from(release.provenance) or {}
        if (origin.get("id"), text_in(release.provenance), recipe_in(release.provenance)) == wanted:
            return release
    return None


def answers_instead(store: "Store", known: "Release | ReleaseSummary") -> str:
    """What answers in place of a release that passed its gate: another, or the base; empty if it does."""
    try:
        stands = store.user(known.user)
    except UnknownUser:
        # Erased since.
        return ""
    if not known.gate.passed or stands.state == "revoked" or stands.served == known.number:
        return ""
    return "the base" if stands.served is None else f"release {stands.served}"
