"""What is refused while there is no store yet, so that nothing is written for it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sharedllm.adapters.formats.registry import check_format
from sharedllm.errors import TextError, UnknownUser
from sharedllm.holder import Removed
from sharedllm.operations.authors import Author, split_of, tokenized
from sharedllm.operations.priors import Priors
from sharedllm.operations.train import Outcome
from sharedllm.operations.workplace import Workplace
from sharedllm.store.rules import unknown_user
from sharedllm.text.passages import Passage
from sharedllm.training.checkpoints import FleetReadings, UnfinishedTraining, checkpoint_folder
from sharedllm.training.recipes import Recipe


def read_ahead(
    workplace: Workplace, authors: Sequence[Author], recipe: Recipe, *, add: bool = False
) -> tuple[list[Author], dict[str, Outcome]]:
    """The authors, their text read, and who of them is refused: from a store that is not there nobody can be erased.

    Args:
        workplace: where they will be trained.
        authors: who.
        recipe: how.
        add: whether text comes to a release, of which there are none.

    Raises:
        TextError: a text cannot be read.
        BaseError, UnknownName: there is no such base or format.
    """
    check_format(recipe.method)
    found: list[Author] = []
    refused: dict[str, Outcome] = {}
    identity = ""
    for author in authors:
        again = replace(author, read=partial(_again, author.read()))
        found.append(again)
        try:
            split = split_of(again)
            if isinstance(split, TextError):
                raise split
            # Also says of what is no base that it is none.
            identity = identity or workplace.fingerprint
            if add:
                raise unknown_user(author.user)
            tokenized(workplace, author.user, split, recipe.window)
        except (TextError, UnknownUser) as error:
            refused[author.user] = Outcome(author.user, None, error)
    return found, refused


def _again(wrote: str | Sequence[Passage]) -> str | Sequence[Passage]:
    return wrote


def held_elsewhere(user: str, folder: Path | None = None) -> bool:
    """Whether the data folder holds anything that concerns a user, whatever the store does.

    Args:
        user: who.
        folder: of checkpoints; by default the one in the user's own data folder.
    """
    folder = checkpoint_folder() if folder is None else folder
    holders = (UnfinishedTraining(folder), FleetReadings(folder), Priors(folder))
    found = [each for holder in holders for each in holder.found(user)]
    return any(not isinstance(each, Removed) or each.count for each in found)
