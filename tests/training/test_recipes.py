import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.errors import InvalidInput, UnknownName
from sharedllm.training.recipes import DEFAULT_RECIPE, RECIPES, Recipe, recipe_named, tuned


def test_documented_is_what_the_documents_say():
    recipe = recipe_named("documented")
    assert (recipe.parameter, recipe.learning_rate, recipe.schedule, recipe.steps) == ("gain", 5e-5, "constant", 100)
    assert (recipe.windows_per_step * recipe.window, recipe.weight_decay, recipe.warmup) == (512, 0.0, 0)
    assert {recipe.rate(step) for step in range(100)} == {5e-5}
    assert not any(recipe.checks(step) for step in range(101))


def test_the_names_are_the_recipes():
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert DEFAULT_RECIPE in RECIPES
    with pytest.raises(UnknownName, match=r"'magic'.*documented, default"):
        recipe_named("magic")


def test_cosine_golden_values():
    recipe = Recipe("r", learning_rate=1.0, schedule="cosine", steps=4)
    expected = [1.0, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]
    assert [recipe.rate(step) for step in range(4)] == pytest.approx(expected)


def test_warmup_golden_values():
    recipe = Recipe("r", learning_rate=1.0, schedule="constant", steps=6, warmup=4)
    assert [recipe.rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@given(
    st.sampled_from(["constant", "cosine"]), st.integers(1, 300), st.integers(0, 50), st.floats(0, 1), st.integers(0)
)
def test_a_rate_is_between_zero_and_the_peak(schedule, steps, warmup, peak, step):
    rate = Recipe("r", learning_rate=peak, schedule=schedule, steps=steps, warmup=warmup).rate(step % steps)
    assert 0 <= rate <= peak


def test_checks_come_at_intervals_and_at_the_end():
    recipe = Recipe("r", steps=10, check_every=4)
    assert [step for step in range(1, 11) if recipe.checks(step)] == [4, 8, 10]
    assert not any(replace(recipe, check_every=0).checks(step) for step in range(1, 11))


def test_patience_counts_checks_without_a_new_best():
    recipe = Recipe("r", steps=10, patience=2)
    assert [recipe.is_over(5, stale) for stale in range(4)] == [False, False, True, True]
    assert recipe.is_over(10, 0)
    assert not replace(recipe, patience=0).is_over(9, 99)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("steps", -1),
        ("steps", 1.5),
        ("window", 1),
        ("windows_per_step", 0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("beta1", 1.0),
        ("beta1", -0.1),
        ("beta2", 1.0),
        ("warmup", -1),
        ("check_every", -5),
        ("patience", -1),
        ("method", "prompt"),
        ("schedule", "linear"),
        ("parameter", "weight"),
    ],
)
def test_a_value_that_cannot_train_is_refused_by_name(field, value):
    with pytest.raises(InvalidInput, match=f"{field} of recipe 'r'"):
        Recipe("r", **{field: value})


@pytest.mark.parametrize("method", ["steering", "ia3"])
def test_only_norms_have_gains_to_move(method):
    with pytest.raises(InvalidInput, match="parameter"):
        Recipe("r", method=method, parameter="gain")


def test_a_recipe_is_frozen_and_is_plain_json_for_provenance():
    recipe = recipe_named("default")
    with pytest.raises(FrozenInstanceError):
        recipe.steps = 5
    assert Recipe(**json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_a_method_that_train_refuses_is_not_offered_for_it():
    with pytest.raises(InvalidInput) as refused:
        Recipe("r", method="prompt")
    assert "lora-r4 and full are what they are compared with, and not for train" in refused.value.remedy


def test_what_is_wrong_with_a_change_is_told_of_the_recipe_that_is_changed():
    with pytest.raises(InvalidInput, match="The number of steps of recipe 'default' is 0"):
        tuned(RECIPES["default"], steps=0)
