"""A workplace on a small base, and people who were trained there."""

import pytest
from tests.cli.conftest import writing

from sharedllm.operations.authors import Author
from sharedllm.operations.train import train
from sharedllm.operations.workplace import Workplace
from sharedllm.store import open_store
from sharedllm.training.recipes import Recipe

QUICK = Recipe("quick", learning_rate=2e-2, steps=6, window=64, check_every=3)


@pytest.fixture
def people(base_of, tmp_path):
    """Train people on files of theirs, which a release remembers; a workplace, a store and where the files are."""

    class People:
        def __init__(self, workplace, store):
            self.workplace, self.store = workplace, store

        def file(self, user):
            path = tmp_path / f"{user}.txt"
            path.write_text(writing(user))
            return path

        def train(self, *users, recipe=QUICK):
            authors = [Author(user, self.file(user).read_text, [str(self.file(user))]) for user in users]
            outcomes = list(train(self.workplace, self.store, authors, recipe))
            assert all(outcome.release for outcome in outcomes)
            return outcomes

    with (
        open_store(":memory:") as store,
        Workplace(base_of("llama"), folder=tmp_path / "training", general=writing("general")) as workplace,
    ):
        yield People(workplace, store)
