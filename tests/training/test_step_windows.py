from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import TooLittleText
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import TokenizedText
from sharedllm.training.recipes import Recipe
from sharedllm.training.step_windows import step_windows

RECIPE = Recipe("r", window=8, windows_per_step=2)


def counting(tokens, sha256="a"):
    """A text whose every token says where it stands."""
    nothing = np.empty((0, 8), np.int64)
    return TokenizedText("alice", np.arange(tokens, dtype=np.int32), nothing, nothing, sha256, Repeats(0, 0.0, ()))


@given(st.integers(8, 500), st.integers(2, 8), st.integers(1, 5), st.integers(0, 1_000))
def test_a_step_is_whole_windows_of_the_text(tokens, window, count, step):
    drawn = step_windows(counting(tokens), replace(RECIPE, window=window, windows_per_step=count), step)
    assert drawn.shape == (count, window)
    assert drawn.dtype == np.int64
    assert (np.diff(drawn, axis=1) == 1).all()
    assert 0 <= drawn.min() <= drawn.max() < tokens


@given(st.integers(8, 500), st.integers(4, 8), st.integers(0, 1_000))
def test_every_sequence_begins_as_the_tokenizer_begins_a_text(tokens, window, step):
    text = replace(counting(tokens), opening=(7, 8))
    drawn = step_windows(text, replace(RECIPE, window=window), step)
    assert drawn.shape == (RECIPE.windows_per_step, window)
    assert (drawn[:, :2] == [7, 8]).all()
    assert (np.diff(drawn[:, 2:], axis=1) == 1).all()
    assert 0 <= drawn[:, 2:].min() <= drawn[:, 2:].max() < tokens


@given(st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_it_is_a_pure_function_of_the_step(steps):
    text = counting(300)
    alone = {step: step_windows(text, RECIPE, step) for step in sorted(set(steps))}
    for step in steps:
        assert np.array_equal(step_windows(text, RECIPE, step), alone[step])


def test_the_global_generator_is_neither_read_nor_moved():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    first = step_windows(counting(300), RECIPE, 3)
    assert np.array_equal(np.random.get_state()[1], state)
    np.random.seed(1)
    assert np.array_equal(step_windows(counting(300), RECIPE, 3), first)


@pytest.mark.slow
@given(st.integers(16, 400), st.integers(1, 5))
def test_an_epoch_reads_no_token_twice_and_almost_all_of_them(tokens, count):
    text, recipe = counting(tokens), replace(RECIPE, windows_per_step=count)
    per_epoch = (tokens - 8) // 8
    draws = np.concatenate([step_windows(text, recipe, step) for step in range(2 * per_epoch)])
    for epoch in range(2):
        read = draws[epoch * per_epoch : (epoch + 1) * per_epoch].ravel()
        assert len(set(read.tolist())) == len(read) > tokens - 2 * 8


def test_epochs_differ_in_order_and_phase():
    text = counting(200)
    draws = np.concatenate([step_windows(text, RECIPE, step) for step in range(3 * 24)])
    first, second = draws[:24], draws[24:48]
    assert not np.array_equal(first, second)
    assert len({int(epoch[0, 0]) % 8 for epoch in (draws[:24], draws[24:48], draws[48:72])}) > 1


def test_the_seed_and_the_text_decide_and_the_user_does_not():
    text = counting(300)
    drawn = step_windows(text, RECIPE, 0)
    assert np.array_equal(step_windows(replace(text, user="bob"), RECIPE, 0), drawn)
    assert np.array_equal(step_windows(text, replace(RECIPE, learning_rate=1.0, steps=7), 0), drawn)
    assert not np.array_equal(step_windows(text, replace(RECIPE, seed=1), 0), drawn)
    assert not np.array_equal(step_windows(counting(300, "b"), RECIPE, 0), drawn)


def test_a_text_of_one_window_is_read_again_and_again():
    assert step_windows(counting(8), RECIPE, 5).tolist() == [list(range(8))] * 2


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(TooLittleText, match="'alice' has 7 tokens"):
        step_windows(counting(7), RECIPE, 0)
