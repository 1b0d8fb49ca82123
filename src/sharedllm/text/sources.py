"""Where a user's text comes from: paths, standard input, a line of a manifest, or a sample."""

from collections.abc import Sequence
from pathlib import Path

from sharedllm.errors import InvalidInput, TextError
from sharedllm.text import samples
from sharedllm.text.manifest import readers
from sharedllm.text.reading import UserText, read_user

SAMPLE = "sample:"
MANIFEST = "manifest:"


def read_sources(user: str, sources: Sequence[str]) -> UserText:
    """Read a user's text from what was typed, or from what a release remembers.

    Raises:
        TextError: a source cannot be read, or cannot be read a second time.
        InvalidInput: a sample is mixed with other sources.
    """
    special = [source for source in sources if source.startswith((SAMPLE, MANIFEST))]
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


def remembered(sources: Sequence[str]) -> list[str]:
    """Sources as a release should remember them: paths made absolute, so that they mean the same from any folder."""
    return [
        source if source == "-" or source.startswith((SAMPLE, MANIFEST)) else str(Path(source).absolute())
        for source in sources
    ]
