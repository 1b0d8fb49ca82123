"""The text that a release was trained on, read again: what it is measured on, since no text is kept."""

from sharedllm.adapters.provenance import is_cross_validated, is_imported, learn_in, sources_in, text_in
from sharedllm.errors import InvalidInput, TextError
from sharedllm.store.contract import Release
from sharedllm.text.choices import chosen_in
from sharedllm.text.sources import Wrote, read_sources
from sharedllm.text.splits import Split, split_passages
from sharedllm.training.recipes import Recipe, recipe_in


def read_again(release: Release, wrote: Wrote = ()) -> Split:
    """The text a release was trained on, split as it was then.

    Args:
        release: which release.
        wrote: the text, or where it is now; empty for where the release remembers it.

    Raises:
        TextError: the text cannot be found, or not be read.
        InvalidInput: it is another text, so that its test blocks may have been trained on; or none of it was held out.
    """
    if is_imported(release.adapter.provenance):
        raise InvalidInput(
            f"Release {release.number} of {release.user!r} was imported, so what it was trained on is not known here,"
            " and what is held out now may have been trained on",
            remedy="Train them here to measure that, or import it again with --text, which its gate reads.",
        )
    if is_cross_validated(release.adapter.provenance):
        raise InvalidInput(
            f"Release {release.number} of {release.user!r} was trained on all of a text too little to hold any of it"
            " out, so that nothing is left to measure it on",
            remedy="What cross-validation found when it was made is in `sharedllm users show`; train on more text to"
            " have part of it held out.",
        )
    if not wrote:
        wrote = sources = sources_in(release.adapter.provenance)
        if not sources or "-" in sources:
            raise TextError(
                f"Release {release.number} of {release.user!r} does not say where its text is",
                remedy="Name the files, after the user.",
            )
    # Read in another way the same files are another text.
    choices, _ = chosen_in(sources_in(release.adapter.provenance))
    learn = learn_in(release.adapter.provenance)
    split = split_passages(read_sources(release.user, wrote, choices).passages, user=release.user, learn=learn)
    if split.sha256 != text_in(release.adapter.provenance):
        raise InvalidInput(
            f"The text of {release.user!r} is not what release {release.number} was trained on, so what is held out now"
            " may have been trained on",
            remedy="Train again on the new text, or give the files as they were.",
        )
    return split


def window_of(release: Release) -> int:
    """Tokens in the sequences that a release was trained on."""
    recipe = recipe_in(release.adapter.provenance)
    return Recipe.window if recipe is None else recipe.window
