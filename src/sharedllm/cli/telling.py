"""What commands tell of a job while it runs, on the error stream."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import click

from sharedllm.cli.progress import progress_bar
from sharedllm.printable import printable

if TYPE_CHECKING:
    from sharedllm.base.loading import Base, Weights
    from sharedllm.operations.authors import Author
    from sharedllm.operations.train import Outcome
    from sharedllm.operations.workplace import Workplace
    from sharedllm.store import Store
    from sharedllm.text.repeats import Repeats
    from sharedllm.text.windows import TokenizedText
    from sharedllm.training.recipes import Recipe


def load(name: str, weights: "Weights" = "plain") -> "Base":
    """Load a base, saying so.

    Raises:
        BaseError, UnknownName, InvalidInput: see `load_base`.
    """
    from sharedllm.base.loading import load_base

    click.echo(f"loading {printable(name)}…", err=True)
    return load_base(name, weights=weights)


def workplace(base_name: str | None, store: "Store | None", weights: "Weights" = "plain") -> "Workplace":
    """A workplace that says when its base is loaded, and shows bars.

    Args:
        base_name: as it was typed; None for the one that the store's adapters are for.
        store: an opened one.
        weights: how the base is to hold its own.
    """
    from sharedllm.operations.default_base import default_base
    from sharedllm.operations.workplace import Workplace

    return Workplace(base_name or default_base(store), load=partial(load, weights=weights), bar=progress_bar)


def train_all(
    place: "Workplace", store: "Store", authors: "Iterable[Author]", recipe: "Recipe", *, add: bool = False
) -> "dict[str, Outcome]":
    """Train as `operations.train` does; by user, in order. Who has nothing new is told, and whose text repeats itself
    or is spelled in pieces.

    Raises:
        SharedLLMError: see `train`.
    """
    from sharedllm.operations.train import train

    authors = list(authors)
    outcomes = {}
    for outcome in train(place, store, authors, recipe, add=add, on_begin=_tell_before_work):
        outcomes[outcome.user] = outcome
        if outcome.before and outcome.release is not None:
            number = outcome.release.number
            click.echo(
                f"{printable(outcome.user)}: nothing new in the text; release {number} is made from it", err=True
            )
    return {author.user: outcomes[author.user] for author in authors}


def _tell_before_work(text: "TokenizedText") -> None:
    from sharedllm.text.contents.spelling import spelled_in_pieces

    read = sum(int((block >= 0).sum()) for block in (text.train, text.validation, text.heldout))
    pieces = spelled_in_pieces(read / max(1, text.characters))
    if pieces is not None:
        click.echo(f"{printable(text.user)}: {pieces}.", err=True)
    if told := given_away(text.repeats):
        click.echo(f"{printable(text.user)}: {told}", err=True)


def given_away(repeats: "Repeats") -> str:
    """What is told of what the training block gives away of the others, and what comes of it; nothing of a little."""
    from sharedllm.text.repeats import REPEATS_HELD_BACK, flattering, given_away_in_words

    if not flattering(repeats):
        return ""
    fate = (
        ", so the release will be held back: leave out what is there more than once"
        if repeats.validation > REPEATS_HELD_BACK
        else ""
    )
    return f"{given_away_in_words(repeats)}{fate}"


def unasked_in_words(count: int) -> str:
    """What is told of strings that were taken for telephone numbers because there were too many to look them up."""
    from sharedllm.text.contents.personal_details import MOST_ASKED

    return (
        f"careful: of more than {MOST_ASKED:,} different strings like telephone numbers the other {count:,} were not"
        " looked up, and are taken for such"
    )
