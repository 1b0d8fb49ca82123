"""Where a user's text comes from: paths, standard input, a line of a manifest, or a sample."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sharedllm.errors import InvalidInput, TextError

if TYPE_CHECKING:
    from sharedllm.store import Release
    from sharedllm.text.reading import UserText
    from sharedllm.text.splits import Split

SAMPLE = "sample:"
MANIFEST = "manifest:"


def read_sources(user: str, sources: Sequence[str]) -> "UserText":
    """Read a user's text from what was typed, or from what a release remembers.

    Raises:
        TextError: a source cannot be read, or cannot be read a second time.
        InvalidInput: a sample is mixed with other sources.
    """
    from sharedllm.text.manifest import read_manifest
    from sharedllm.text.reading import UserText, read_user
    from sharedllm.text.samples import sample_text

    special = [source for source in sources if source.startswith((SAMPLE, MANIFEST))]
    if not special:
        return read_user(user, sources)
    if len(sources) > 1:
        raise InvalidInput(
            f"{special[0]!r} cannot be mixed with other sources", remedy="Give the sample alone, or files alone."
        )
    if special[0].startswith(SAMPLE):
        return UserText(user, sample_text(special[0].removeprefix(SAMPLE)))
    path = Path(special[0].removeprefix(MANIFEST))
    for text in read_manifest(path):
        if text.user == user:
            return text
    raise TextError(f"{path} no longer has a line for {user!r}", remedy="Give the files to read.")


def read_again(release: "Release", sources: Sequence[str]) -> "Split":
    """The text a release was trained on, split as it was then.

    Args:
        release: which release.
        sources: where the text is now; empty for where the release remembers it.

    Raises:
        TextError: the text cannot be found, or not be read.
        InvalidInput: it is another text, so that its test blocks may have been trained on.
    """
    from sharedllm.adapters.provenance import is_imported, sources_in, text_in
    from sharedllm.text.splits import split_text

    if is_imported(release.adapter.provenance):
        raise InvalidInput(
            f"Release {release.number} of {release.user!r} was imported, so what it was trained on is not known here,"
            " and what is held out now may have been trained on",
            remedy="Train them here to measure that, or import it again with --text, which its gate reads.",
        )
    origin = sources or sources_in(release.adapter.provenance)
    if not origin or ("-" in origin and not sources):
        raise TextError(
            f"Release {release.number} of {release.user!r} does not say where its text is",
            remedy="Name the files, after the user.",
        )
    split = split_text(read_sources(release.user, origin).text, user=release.user)
    if split.sha256 != text_in(release.adapter.provenance):
        raise InvalidInput(
            f"The text of {release.user!r} is not what release {release.number} was trained on, so what is held out now"
            " may have been trained on",
            remedy="Train again on the new text, or give the files as they were.",
        )
    return split


def window_of(release: "Release") -> int:
    """Tokens in the sequences that a release was trained on."""
    from sharedllm.training.recipes import Recipe, recipe_in

    recipe = recipe_in(release.adapter.provenance)
    return Recipe.window if recipe is None else recipe.window


def remembered(sources: Sequence[str]) -> list[str]:
    """Sources as a release should remember them: paths made absolute, so that they mean the same from any folder."""
    return [
        source if source == "-" or source.startswith((SAMPLE, MANIFEST)) else str(Path(source).absolute())
        for source in sources
    ]
