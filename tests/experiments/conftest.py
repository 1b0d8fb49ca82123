import random

import pytest
from experiments.catalogue.bet import all_bets
from experiments.catalogue.running import run_bet


@pytest.fixture(scope="session")
def bets():
    return all_bets()


@pytest.fixture(scope="session")
def made_up_text():
    """A text of a few thousand characters that depends on its author's name alone, in words of their own."""

    def made_up_text(name):
        chance = random.Random(name)
        words = ["".join(chance.choices("abcdefgh", k=chance.randint(2, 7))) for _ in range(40)]
        return "\n".join(" ".join(chance.choices(words, k=10)) for _ in range(60))

    return made_up_text


@pytest.fixture
def quick(base_of, made_up_text, tmp_path):
    """Run a bet quickly on a small base."""

    def quick(bet, protocol="tuned", **options):
        options = {"out": tmp_path / "out", "results": tmp_path / "results", "read_text": made_up_text, **options}
        return run_bet(bet, base_of(), protocol, quick=True, **options)

    return quick
