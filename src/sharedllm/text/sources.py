"""Where a user's text comes from: paths, standard input, a line of a manifest, or a sample."""

from collections.abc import Sequence
from pathlib import Path

from sharedllm.errors import InvalidInput, TextError
from sharedllm.text import samples
from sharedllm.text.manifest import readers
from sharedllm.text.reading import UserText, read_user

SAMPLE = "sample:"
MANIFEST = "manifest:"

Wrote = str | Path | Sequence[str | Path]
"""What somebody wrote: the text itself, a path, or several sources, as they are typed after the user's name."""

LONGEST_PATH = 255
"""Longer names cannot be files, and asking about one is an error."""


def read_sources(user: str, wrote: Wrote) -> UserText:
    """Read a user's text from what was typed, or from what a release remembers.

    Raises:
        TextError: a source cannot be read, or cannot be read a second time.
        InvalidInput: a sample is mixed with other sources, or a source is given where the text itself would be.
    """
    if isinstance(wrote, str):
        if wrote.startswith((SAMPLE, MANIFEST)) or (len(wrote) <= LONGEST_PATH and Path(wrote).exists()):
            raise InvalidInput(
                f"{wrote!r} is where text is, and it stands where the text of {user!r} goes",
                remedy=f"Give a list of sources: [{wrote!r}].",
            )
        return UserText(user, wrote)
    sources = [wrote] if isinstance(wrote, Path) else wrote
    special = [source for source in sources if isinstance(source, str) and source.startswith((SAMPLE, MANIFEST))]
    if not special:
        return read_user(user, sources)
    if len(sources) > 1:
        raise InvalidInput(
            f"{special[0]!r} cannot be mixed with other sources", remedy="Give the sample alone, or files alone."
        )
    if special[0].startswith(SAMPLE):
        return UserText(user, samples.sample_text(special[0].removeprefix(SAMPLE)))
    path = Path(special[0].removeprefix(MANIFEST))
    for each, read in readers(path):
        if each == user:
            return read()
    raise TextError(f"{path} no longer has a line for {user!r}", remedy="Give the files to read.")


def remembered(wrote: Wrote) -> list[str]:
    """Sources as a release should remember them: paths made absolute, so that they mean the same from any folder.

    Of the text itself there are none.
    """
    if isinstance(wrote, str):
        return []
    return [
        source
        if isinstance(source, str) and (source == "-" or source.startswith((SAMPLE, MANIFEST)))
        else str(Path(source).absolute())
        for source in ([wrote] if isinstance(wrote, Path) else wrote)
    ]
