"""`sharedllm text`: a look at somebody's text before anything is trained on it."""

import sys
from typing import TYPE_CHECKING

import click

from sharedllm.cli.inspection import chosen, reading_options, tell
from sharedllm.cli.options import json_option
from sharedllm.cli.printing import print_json
from sharedllm.errors import InvalidInput
from sharedllm.extras import need
from sharedllm.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sharedllm.text.passages import Passage

WHO = "you"
"""Whose text it is, where nobody is to be trained."""


@click.group()
def command() -> None:
    """Look at people's text before anything is trained on it."""


@command.command("inspect")
@click.argument("sources", nargs=-1)
@reading_options
@click.option("--base", "base_name", metavar="NAME", help="Tell also whether this base has words for the text.")
@click.option("--print", "printed", is_flag=True, help="Print exactly what would be learned, and nothing else.")
@json_option
def inspect_command(
    sources: tuple[str, ...],
    me: tuple[str, ...],
    learn: str,
    mask: bool,
    author: str | None,
    base_name: str | None,
    printed: bool,
    as_json: bool,
) -> None:
    """Say what training would read in SOURCES, whose words it would learn, and what it would leave out.

    SOURCES are files, folders or - for standard input, as for `sharedllm train`. Nothing is trained and nothing is
    written.

    \b
      sharedllm text inspect ~/exports/
      sharedllm text inspect ~/exports/ --me "Alice M." --print

    With --print, what others said and is read before your words stands behind > and is never learned. On a terminal
    control characters are shown as escapes; piped, your words are what training sees, byte for byte.
    """
    from sharedllm.operations.inspect import as_dict, inspect
    from sharedllm.text.reading import read_user

    if mask:
        need("text")
    if not sources:
        raise InvalidInput("No text is given", remedy="Name files or folders: sharedllm text inspect ~/exports/")
    choices = chosen(me, learn, mask, author)
    if printed:
        passages = read_user(WHO, sources, choices=choices).passages
        if as_json:
            print_json([{"role": each.role, "text": each.text, "begins": each.begins} for each in passages])
        else:
            _print(passages)
        return
    encode = None if base_name is None else _encode(base_name)
    found = inspect(WHO, sources, choices, encode=encode)
    if as_json:
        print_json(as_dict(found))
    else:
        tell(found)
    if not found.text.readings and found.why_not is not None:
        raise found.why_not


def _print(passages: "tuple[Passage, ...]") -> None:
    safe = sys.stdout.isatty()
    for passage in passages:
        if passage.begins:
            click.echo(">")
        text = passage.text if passage.learned else "\n".join(f"> {line}" for line in passage.text.split("\n"))
        click.echo(printable(text, keep="\n\t") if safe else text)


def _encode(name: str) -> "Callable[[str], list[int]]":
    from sharedllm.operations.workplace import Workplace

    return Workplace(name).tokens.encode
