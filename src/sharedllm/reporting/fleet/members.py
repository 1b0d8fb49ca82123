"""Who of a manifest a fleet's report is about: whoever has a release of their text, made in the way of most."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sharedllm.adapters.provenance import is_cross_validated, text_in
from sharedllm.errors import CorruptAdapter, InvalidInput, UnknownUser
from sharedllm.reporting.charts import SERIES
from sharedllm.store.contract import Release, ReleaseSummary, Store
from sharedllm.text.manifest import entries
from sharedllm.text.repeats import Repeats
from sharedllm.training.recipes import Recipe, recipe_in

NO_KIND = "person"
REST = "others"
WINDOWS = 32
"""Held-out windows read of each person, evenly spaced."""
EVERYONE_STEPS = 4
"""Times a person's own steps that the adapter for everybody may take; like theirs, its best by validation counts."""
_SEED = 0


@dataclass(frozen=True, eq=False)
class Member:
    """One person of a fleet.

    Attributes:
        user: the id.
        kind: what their id begins with, up to a slash; the rarest kinds are one if a chart cannot show them all.
        line: offset of their line in the manifest.
        text_bytes: of their text in UTF-8.
        text_sha256: of the text, in hex.
        repeats: what its training block gives away of the other two.
        release: made from that text.
    """

    user: str
    kind: str
    line: int
    text_bytes: int
    text_sha256: str
    repeats: Repeats
    release: Release


@dataclass(frozen=True, eq=False)
class Fleet:
    """Everybody who was trained on one base by one recipe.

    Attributes:
        manifest: where their texts are.
        fingerprint: of the base.
        recipe: by which the newest releases of most of them are made.
        members: in the order of their ids, two or more.
        missing: by user, why somebody of the manifest is not among them.
    """

    manifest: Path
    fingerprint: str
    recipe: Recipe
    members: Sequence[Member]
    missing: Mapping[str, str]

    def other(self, number: int) -> Member:
        """Whose adapter reads the text of the member of that number as a control: never their own."""
        return self.members[self._others[number]]

    @cached_property
    def texts_sha256(self) -> str:
        """Of everybody's texts, whatever their order."""
        texts = sorted(member.text_sha256 for member in self.members)
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    @cached_property
    def _others(self) -> list[int]:
        # One random cycle through everybody, so that nobody meets themselves.
        order = np.random.default_rng(_SEED).permutation(len(self.members))
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)
        return [int(other) for other in others]


@dataclass(frozen=True)
class _Line:
    """What a line of the manifest leads to."""

    offset: int
    text_bytes: int
    text_sha256: str
    repeats: Repeats
    releases: Sequence[ReleaseSummary]


def find_fleet(store: Store, manifest: Path, fingerprint: str) -> Fleet:
    """Look up everybody of a manifest: their text as it is now, and their newest release made from it on this base.

    The fleet's recipe is that of most of these, so that training some people again in another way loses nobody; of
    equally common ones that which more people have any release by, then the newest. For everybody their newest release
    by that recipe counts.

    Raises:
        ManifestError: a line is none.
        InvalidInput: fewer than two of them have such a release.
    """
    lines: dict[str, _Line] = {}
    missing: dict[str, str] = {}
    for offset, entry in entries(manifest):
        try:
            text = entry.read(manifest.parent)
            split = text.split()
            found = _releases(store, entry.user, split.sha256, fingerprint)
            lines[entry.user] = _Line(offset, len(text.text.encode()), split.sha256, split.repeats, found)
        except (InvalidInput, UnknownUser) as error:
            missing[entry.user] = error.message
    known = [line.releases for line in lines.values() if line.releases]
    if not known:
        raise _too_few(manifest, 0)
    recipe = _recipe_of_most(known)
    kinds = _kinds([user for user, line in lines.items() if line.releases])
    members = []
    for user, line in sorted(lines.items()):
        made_so = [release for release in line.releases if recipe_in(release.provenance) == recipe]
        if not made_so:
            missing[user] = f"no release is made from this text on this base by the recipe {recipe.name!r}"
            continue
        if is_cross_validated(made_so[-1].provenance):
            missing[user] = "trained on all of a text too little to hold any of it out, so that nothing is left to read"
            continue
        try:
            release = store.release(user, made_so[-1].number)
        except CorruptAdapter as error:
            missing[user] = error.message
            continue
        about = line.offset, line.text_bytes, line.text_sha256, line.repeats
        members.append(Member(user, kinds[user], *about, release))
    if len(members) < 2:
        raise _too_few(manifest, len(members))
    return Fleet(manifest, fingerprint, recipe, members, missing)


def _releases(store: Store, user: str, text: str, base: str) -> list[ReleaseSummary]:
    """Those made here from a text on a base, oldest first; none of somebody who is revoked."""
    if store.user(user).state == "revoked":
        return []
    found = [
        release
        for release in store.every_release(user)
        if release.base == base and text_in(release.provenance) == text and recipe_in(release.provenance) is not None
    ]
    return found[::-1]


def _recipe_of_most(known: Sequence[Sequence[ReleaseSummary]]) -> Recipe:
    def recipes(releases: Sequence[ReleaseSummary]) -> list[Recipe]:
        return [recipe for release in releases if (recipe := recipe_in(release.provenance)) is not None]

    made_by = [recipes(releases) for releases in known]
    used = Counter(each[-1] for each in made_by)
    had = Counter(recipe for each in made_by for recipe in set(each))
    newest = [(releases[-1].created_at, each[-1]) for releases, each in zip(known, made_by, strict=True)]
    return max(newest, key=lambda one: (used[one[1]], had[one[1]], one[0]))[1]


def _kinds(users: Sequence[str]) -> dict[str, str]:
    own = {user: user.partition("/")[0] if "/" in user else NO_KIND for user in users}
    common = [kind for kind, _ in Counter(own.values()).most_common()]
    kept = common if len(common) <= SERIES else common[: SERIES - 1]
    return {user: kind if kind in kept else REST for user, kind in own.items()}


def _too_few(manifest: Path, count: int) -> InvalidInput:
    return InvalidInput(
        f"{count} of the users of {manifest} have a release of their text on this base, and a report needs two",
        remedy="Train them first: sharedllm fleet train --manifest …, on the same base and into the same store.",
    )
