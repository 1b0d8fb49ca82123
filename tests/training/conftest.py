import hashlib

import numpy as np
import pytest
from tests import models

from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText, windows


@pytest.fixture(scope="session")
def text_of():
    """A made-up user's tokens: six of their own in a fixed round, with some noise, so that they can be learnt."""

    def text_of(user, *, tokens=1_000, window=16):
        digest = hashlib.sha256(user.encode())
        random = np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))
        habit = random.choice(np.arange(3, models.VOCABULARY), 6, replace=False)

        def block(length):
            noise = random.integers(3, models.VOCABULARY, length)
            return np.where(random.random(length) < 0.1, noise, np.resize(habit, length))

        return TokenizedText(
            user=user,
            train=block(tokens).astype(np.int32),
            validation=windows(block(8 * window), window),
            heldout=windows(block(8 * window), window),
            sha256=digest.hexdigest(),
            repeats=Repeats(0, 0.0, ()),
        )

    return text_of
