"""A text read once under many rows, and on from any place of it."""

import numpy as np
import pytest
import torch

from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import InvalidInput
from sharedllm.serving.branches import Branches

IDS = list(range(10, 50))


def stored(base, seed):
    noise = np.random.default_rng(seed).normal(0, 0.1, layout_of(base, "norm").size)
    return noise.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "adapted"])
def test_what_is_read_on_from_a_place_is_what_a_pass_over_the_whole_gives(base_of, inject, architecture):
    base = base_of(architecture, torch.float64)
    rows = [None, stored(base, 1), stored(base, 2)]
    asked = [(0, 12, (7,)), (1, 12, (7, 8, 9)), (2, 40, (5,)), (1, 1, (3, 4))]
    with Branches(base, rows, 64) as branches:
        text, found = branches.read(IDS), branches.after(asked)
    injection = inject(base)

    def whole(row, ids):
        table = torch.zeros(1, injection.layout.size) if rows[row] is None else torch.from_numpy(rows[row])[None]
        with torch.no_grad(), injection.rows(table, torch.zeros(1, dtype=torch.int64)):
            return base.model(torch.tensor([ids])).logits[0].numpy()

    for row in range(3):
        np.testing.assert_allclose(text[row], whole(row, IDS), rtol=1e-9, atol=1e-9)
    for (row, begin, path), logits in zip(asked, found, strict=True):
        np.testing.assert_allclose(logits, whole(row, [*IDS[:begin], *path])[-1], rtol=1e-9, atol=1e-9)


def test_more_than_a_pass_has_room_for_takes_several(base_of):
    base = base_of("llama", torch.float64)
    with Branches(base, [None], 64) as branches:
        branches.read(IDS)
        asked = [(0, place, (4, 5, 6)) for place in range(1, 40)] * 3
        found = branches.after(asked)
        np.testing.assert_allclose(found[:39], found[78:], rtol=1e-9, atol=1e-12)


def test_the_base_is_as_it_was_also_after_a_row_that_was_never_stored(base_of):
    base = base_of("llama", torch.float64)
    with pytest.raises(InvalidInput, match="float16"):
        Branches(base, [np.full(layout_of(base, "norm").size, 0.1, np.float32)], 64)
    with Branches(base, [None], 64) as branches:
        branches.read(IDS)
