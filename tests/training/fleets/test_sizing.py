"""What a fleet takes: copies of measurements that are true, and arithmetic that follows from them."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from sharedllm.adapters.layouts import layout_of
from sharedllm.evaluation.gate import MAX_WINDOWS
from sharedllm.training import vectors
from sharedllm.training.fleets import measured, sizing
from sharedllm.training.fleets.measured import MEASURED
from sharedllm.training.fleets.sizing import SHAPES, Shape, size_fleet

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
SMOLLM2 = SHAPES["smollm2-135m"]


def figure(what, users=1000, base="smollm2-135m", requests_per_second=None):
    (found,) = [each for each in size_fleet(users, base, requests_per_second) if each.what == what]
    return found.value


@pytest.mark.parametrize("name", MEASURED)
def test_every_constant_is_what_its_result_file_says(name):
    constant = MEASURED[name]
    value = json.loads((RESULTS / constant.file).read_text())
    for key in constant.path:
        value = value[key]
    assert constant.value == value, f"{constant.file} was measured again: change {name} in measured.py to {value}"


def test_no_constant_is_left_out_of_the_comparison():
    assert set(MEASURED) == {name for name, value in vars(measured).items() if isinstance(value, measured.Measured)}


def test_what_the_code_decides_is_what_is_reckoned_with():
    assert sizing.TOKENS_AT_ONCE == vectors._TOKENS_AT_ONCE
    assert (sizing.CHECK_WINDOWS, sizing.GATE_WINDOWS) == (vectors.VALIDATION_WINDOWS, MAX_WINDOWS)


def test_the_formulas_give_what_was_measured_on_the_base_it_was_measured_on():
    assert SMOLLM2.values == measured.STORE_PARAMETERS.value
    assert figure("a user, norm float16, as stored") == measured.NORM_BYTES.value
    assert figure("a user, LoRA-r4 float16, for comparison") == measured.LORA_BYTES.value
    assert figure("disk, store", users=7) == 7 * measured.STORE_BYTES.value
    assert 4 * SMOLLM2.multiplied * measured.STEP_TOKENS == measured.STEP_OPERATIONS.value


def test_a_shape_counts_like_a_real_model_of_that_shape(base_of):
    base = base_of("llama")
    shape = Shape(layers=2, width=32, keys=16, inner=48, vocabulary=259, tied=True)
    assert shape.values == layout_of(base).size
    assert shape.sites == len(layout_of(base).sites)
    assert shape.parameters == sum(parameter.numel() for parameter in base.model.parameters())


@pytest.mark.parametrize(
    ("base", "parameters", "norm_bytes"),
    [("30m", 30e6, 4_608), ("smollm2-135m", 134.5e6, 70_272), ("1b", 1.24e9, 135_168), ("8b", 8.03e9, 532_480)],
)
def test_the_bases_are_as_large_as_their_names(base, parameters, norm_bytes):
    assert SHAPES[base].parameters == pytest.approx(parameters, rel=0.01)
    assert figure("a user, norm float16, as stored", base=base) == norm_bytes


def test_ten_times_the_users_take_ten_times_the_hours_and_the_same_memory_to_train():
    few, many = ({f.what: f.value for f in size_fleet(users, "1b")} for users in (1_000, 10_000))
    for what in ("disk, store", "training, one machine of two cores", "memory, all adapters in one table"):
        assert many[what] == pytest.approx(10 * few[what])
    for what in ("RAM to train on a CPU, at most", "GPU memory to train, at most", "memory, base in bfloat16"):
        assert many[what] == few[what]


def test_serving_nodes_are_whole_and_reckoned_only_for_a_rate():
    assert figure("serving, machines of two cores", requests_per_second=0.001) == 1
    assert figure("serving, machines of two cores", requests_per_second=100) == math.ceil(
        12_800 / measured.TOKENS_PER_SECOND.value
    )
    assert not [each for each in size_fleet(1, "30m") if "serving" in each.what]


def test_every_figure_says_where_it_comes_from():
    for each in size_fleet(215_000, "8b", 10.0):
        assert all(asdict(each)[key] for key in ("what", "unit", "source"))
        assert each.in_words
