"""Where a user's text comes from: paths, standard input, a line of a manifest, or a sample."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sharedllm.errors import InvalidInput, TextError
from sharedllm.text import samples
from sharedllm.text.choices import CHOICES, Choices, chosen_in
from sharedllm.text.manifest import Entry, readers
from sharedllm.text.passages import Learn
from sharedllm.text.reading import UserText, read_user

SAMPLE = "sample:"
MANIFEST = "manifest:"

Wrote = str | Path | Sequence[str | Path]
"""What somebody wrote: the text itself, a path, or several sources, as they are typed after the user's name."""

LONGEST_PATH = 255
"""Longer names cannot be files, and asking about one is an error."""


def read_sources(user: str, wrote: Wrote, choices: Choices | None = None) -> UserText:
    """Read a user's text from what was typed, or from what a release remembers.

    Args:
        user: a checked user id.
        wrote: the text, or where it is.
        choices: how files are read; by default as the sources say that a release remembers, else as `Choices()`.

    Raises:
        TextError: a source cannot be read, or cannot be read a second time.
        InvalidInput: a sample is mixed with other sources, a source is given where the text itself would be, or it is
            neither text nor sources.
    """
    if isinstance(wrote, str):
        short = 0 < len(wrote) <= LONGEST_PATH
        if short and (wrote.startswith((SAMPLE, MANIFEST)) or Path(wrote).exists()):
            raise InvalidInput(
                f"{wrote!r} is where text is, and it stands where the text of {user!r} goes",
                remedy=f"Give a list of sources: [{wrote!r}].",
            )
        return UserText(user, wrote)
    said, sources = chosen_in(_listed(wrote))
    choices = said if choices is None else choices
    special = [source for source in sources if isinstance(source, str) and source.startswith((SAMPLE, MANIFEST))]
    if not special:
        return read_user(user, sources, choices=choices)
    if len(sources) > 1:
        raise InvalidInput(
            f"{special[0]!r} cannot be mixed with other sources", remedy="Give the sample alone, or files alone."
        )
    if special[0].startswith(SAMPLE):
        return UserText(user, samples.sample_text(special[0].removeprefix(SAMPLE)))
    return _line_of(user, special[0])[1]()


def learned(user: str, wrote: Wrote) -> Learn:
    """What a user's text is to teach: as the sources say that a release remembers, or their line of a manifest.

    Raises:
        TextError, InvalidInput: see `read_sources`.
    """
    if isinstance(wrote, str):
        return Choices().learn
    said, sources = chosen_in(_listed(wrote))
    manifest = next((each for each in sources if isinstance(each, str) and each.startswith(MANIFEST)), None)
    return said.learn if manifest is None else _line_of(user, manifest)[0].choices.learn


def _line_of(user: str, source: str) -> tuple[Entry, Callable[[], UserText]]:
    path = Path(source.removeprefix(MANIFEST))
    for entry, read in readers(path):
        if entry.user == user:
            return entry, read
    raise TextError(f"{path} no longer has a line for {user!r}", remedy="Give the files to read.")


def remembered(wrote: Wrote, choices: Choices | None = None) -> list[str]:
    """Sources as a release should remember them: paths made absolute, so that they mean the same from any folder.

    Before them stands how they are read, where that was chosen. Of the text itself there are none.

    Raises:
        InvalidInput: it is neither text nor sources.
    """
    if isinstance(wrote, str):
        return []
    return [
        *(choices or Choices()).as_source(),
        *(
            source
            if isinstance(source, str) and (source == "-" or source.startswith((SAMPLE, MANIFEST, CHOICES)))
            else str(Path(source).absolute())
            for source in _listed(wrote)
        ),
    ]


def _listed(wrote: Path | Sequence[str | Path]) -> Sequence[str | Path]:
    sources = [wrote] if isinstance(wrote, Path) else wrote
    if not (isinstance(sources, Sequence) and all(isinstance(source, str | Path) for source in sources)):
        raise InvalidInput(
            f"A value of type {type(wrote).__name__} is neither text nor where text is",
            remedy="Give a str for the text itself, a Path, or a list of sources.",
        )
    return sources
