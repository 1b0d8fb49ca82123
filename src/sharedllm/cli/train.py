"""`sharedllm train`: from text to a release that has passed its gate, or that says why it has not."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sharedllm.cli.hints import as_given
from sharedllm.cli.inspection import chosen, reading_options, tell
from sharedllm.cli.options import base_option, chosen_recipe, json_option, recipe_options, store_option
from sharedllm.cli.printing import exit_status, print_json
from sharedllm.cli.telling import train_all, unasked_in_words, workplace
from sharedllm.errors import InvalidInput, TextError
from sharedllm.extras import need
from sharedllm.printable import printable
from sharedllm.user_ids import check_user_id

if TYPE_CHECKING:
    from sharedllm.operations.authors import Author
    from sharedllm.operations.train import Outcome
    from sharedllm.text.choices import Choices
    from sharedllm.text.passages import Learn, Passage
    from sharedllm.text.reading import UserText

_FILES_SHOWN = 20


@click.command()
@click.argument("user", required=False)
@click.argument("sources", nargs=-1)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help='Train many users at once: a file of lines like {"user": "alice", "files": ["notes/a.md"]}.',
)
@click.option(
    "--add",
    is_flag=True,
    help="The text is new: go on from the release that answers, whose own text is not needed. Give what is new alone.",
)
@reading_options
@click.option("--yes", is_flag=True, help="Do not ask whether what was found is what shall be learned.")
@recipe_options
@base_option
@store_option
@json_option
def command(
    user: str | None,
    sources: tuple[str, ...],
    manifest: Path | None,
    add: bool,
    me: tuple[str, ...],
    learn: str,
    mask: bool,
    author: str | None,
    yes: bool,
    recipe_name: str,
    steps: int | None,
    learning_rate: float | None,
    format: str | None,
    seed: int,
    base_name: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Train adapters from users' text, gate them and store them.

    SOURCES of USER's text are files, folders, - for standard input, or sample:programmer, sample:novelist and so on.
    Of chats and mailboxes only USER's own words are learned: what was found is told, and asked about once.

    About 80 % of the text trains; the rest, in blocks of its own, decides whether the adapter helps. One that does not
    is stored but not served, and you are told why.

    It takes 2,000 characters. Until there are some 50,000 (in tokens: 4 windows of 256 in each of the two blocks that
    are kept for testing) nothing is kept apart: four parts of the text are each tested by what the other three teach,
    the adapter is as strong as that says, and the answer may be "not yet", with how much text would probably do.

    \b
      sharedllm train alice notes/*.md
      sharedllm train alice this-week.md --add
      sharedllm train --manifest users.jsonl

    Interrupt it as you like: the same command resumes. The same text and recipe are not trained twice. Of a manifest
    everybody is trained who can be, and the others are listed with the reason; but if a line of it is wrong, or names a
    file that cannot be read, nobody is.

    \b
    It exits with 0 if everybody's new release is served, with 3 if one is held back by the gate, and with 2 if
    somebody could not be trained or nothing was done.
    """
    from sharedllm.operations.unwritten import read_ahead
    from sharedllm.store import open_store
    from sharedllm.store.address import store_is_there
    from sharedllm.store.rules import override_command

    recipe = chosen_recipe(recipe_name, steps, learning_rate, format, seed)
    if mask:
        need("text")
    authors = _authors(user, sources, manifest, chosen(me, learn, mask, author), yes)
    outcomes: dict[str, Outcome] = {}
    if not store_is_there(store):
        # Nothing is written for what is refused.
        with workplace(base_name, None) as place:
            authors, outcomes = read_ahead(place, authors, recipe, add=add)
    if len(outcomes) < len(authors):
        with open_store(store) as opened, workplace(base_name, opened) as place:
            outcomes = train_all(place, opened, authors, recipe, add=add)
    for outcome in outcomes.values():
        # Of one person there is nobody else to tell of: what their text lacks is the command's own error.
        if manifest is None and isinstance(outcome.error, TextError):
            raise outcome.error
    if as_json:
        print_json([_as_dict(outcome) for outcome in outcomes.values()])
    else:
        for outcome in outcomes.values():
            click.echo(f"{printable(outcome.user)}: {printable(as_given(outcome.sentence))}")
            if outcome.release is not None and not outcome.release.gate.passed:
                serve_it = as_given(override_command(outcome.user, outcome.release.number))
                click.echo(f"  next: train on more or other text, or {printable(serve_it)}")
    releases = [outcome.release for outcome in outcomes.values()]
    held_back = any(release is not None and not release.gate.passed for release in releases)
    sys.exit(exit_status(failed=None in releases, held_back=held_back))


def _tell_what_was_read(text: "UserText") -> None:
    """Every file with its share, what was left out, and what does not look like a person's words; else nothing."""
    for path, why in zip(text.skipped[:_FILES_SHOWN], text.why_skipped, strict=False):
        what = why.message.removeprefix(f"{str(path)!r} ").removeprefix("is ")
        click.echo(f"skipped {printable(str(path))}: {printable(what)}. {printable(why.remedy)}", err=True)
    if len(text.skipped) > _FILES_SHOWN:
        click.echo(f"skipped {len(text.skipped) - _FILES_SHOWN:,} more files", err=True)
    for what, count in text.left_out.items():
        click.echo(f"{printable(text.user)}: left out {count:,} characters of {printable(what)}", err=True)
    if text.unasked:
        click.echo(f"{printable(text.user)}: {unasked_in_words(text.unasked)}", err=True)
    total = sum(part.characters for part in text.parts)
    if len(text.parts) > 1 or text.skipped:
        files = "1 file" if len(text.parts) == 1 else f"{len(text.parts):,} files"
        click.echo(f"{printable(text.user)}: {total:,} characters of {files}", err=True)
        largest = sorted(text.parts, key=lambda part: -part.characters)[:_FILES_SHOWN]
        for part in largest:
            click.echo(f"  {part.characters / total:6.1%}  {printable(part.source)}", err=True)
        if len(text.parts) > len(largest):
            rest = total - sum(part.characters for part in largest)
            click.echo(f"  {rest / total:6.1%}  {len(text.parts) - len(largest):,} smaller files", err=True)
    doubted = sorted((part for part in text.parts if part.doubt is not None), key=lambda part: -part.characters)
    for part in doubted[:_FILES_SHOWN]:
        click.echo(
            f"{printable(text.user)}: {printable(part.source)} ({part.characters / total:.1%} of the text) does not"
            f" look like a person's words: {part.doubt}. Leave it out unless they shall sound like it.",
            err=True,
        )
    if len(doubted) > _FILES_SHOWN:
        more = doubted[_FILES_SHOWN:]
        share = sum(part.characters for part in more) / total
        click.echo(f"{printable(text.user)}: nor do {len(more):,} smaller files ({share:.1%} of the text)", err=True)


def _authors(
    user: str | None, sources: tuple[str, ...], manifest: Path | None, choices: "Choices", yes: bool
) -> "list[Author]":
    """Who is trained. What they wrote is told as it is read, and of what others wrote too it is asked."""
    from sharedllm.operations.authors import Author
    from sharedllm.text.manifest import readers
    from sharedllm.text.sources import LONGEST_PATH, MANIFEST, read_sources, remembered

    def author(user: str, read: "Callable[[], UserText]", kept: Sequence[str], learn: "Learn") -> Author:
        def read_and_tell() -> "Sequence[Passage]":
            text = read()
            if manifest is None and any(reading.authors for reading in text.readings):
                _tell_and_ask(text, sources, choices, yes)
            else:
                _tell_what_was_read(text)
            return text.passages

        return Author(user, read_and_tell, kept, learn=learn)

    if manifest is not None:
        if user is not None:
            raise InvalidInput(f"Both {user!r} and a manifest are given", remedy="Give one or the other.")
        if choices.as_source():
            raise InvalidInput(
                "How a text is read is said for everybody, and a manifest says it of each",
                remedy='Write "me", "learn", "mask" or "author" on the lines of the manifest.',
            )
        kept = [f"{MANIFEST}{manifest.absolute()}"]
        return [author(entry.user, read, kept, entry.choices.learn) for entry, read in readers(manifest)]
    given = Path(user) if user is not None and check_user_id(user) and len(user) <= LONGEST_PATH else None
    if given is not None and (given.is_file() or (not sources and given.exists())):
        # `train notes/*.md` without a user would otherwise quietly train a person called notes/a.md.
        raise InvalidInput(
            f"{user!r} is a {'file' if given.is_file() else 'folder'} here, and it stands where the user's name goes",
            remedy="Name the user first: sharedllm train alice notes/*.md (or --manifest, for a user of that name).",
        )
    if user is None or not sources:
        raise InvalidInput(
            "No text is given", remedy="Name a user and their files, `sharedllm train alice notes/*.md`, or --manifest."
        )
    read = partial(read_sources, user, sources, choices)
    return [author(user, read, remembered(sources, choices), choices.learn)]


def _tell_and_ask(text: "UserText", sources: tuple[str, ...], choices: "Choices", yes: bool) -> None:
    """Tell what was found in exports, and go on only if somebody says so, or has said who they are.

    Raises:
        InvalidInput: who is meant was guessed, and nobody is there to be asked.
        click.Abort: it is not what shall be learned.
    """
    from sharedllm.operations.inspect import inspected

    tell(inspected(text, sources), err=True)
    if yes:
        return
    if sys.stdin.isatty():
        click.confirm("Train on this?", default=True, abort=True, err=True)
        return
    guessed = [each for each in text.readings if each.me is not None and len(each.authors) > 1]
    if guessed and not choices.me:
        raise InvalidInput(
            f"{guessed[0].source} has several authors, of whom {guessed[0].me!r} is taken for {text.user!r}, and there"
            " is nobody to be asked",
            remedy=f"Say who it is, as in --me {guessed[0].me!r}, or that all of it is right: --yes.",
        )


def _as_dict(outcome: "Outcome") -> dict[str, Any]:
    if outcome.release is None:
        return {"user": outcome.user, "release": None, "error": str(outcome.error)}
    found = outcome.release.gate
    gate = {"passed": found.passed, "reason": found.reason, "figures": found.figures}
    return {"user": outcome.user, "release": outcome.release.number, "gate": gate}
