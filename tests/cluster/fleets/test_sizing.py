"""What a fleet takes: copies of measurements that are true, and arithmetic that follows from them."""

import json
import math
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest

from sharedllm.adapters.layouts import layout_of
from sharedllm.cluster.fleets import sizing
from sharedllm.cluster.fleets.sizing import MEASURED, SHAPES, Shape, size_fleet, training_seconds
from sharedllm.evaluation.gate import MAX_WINDOWS
from sharedllm.training import vectors

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
    assert constant.value == value, f"{constant.file} was measured again: change {name} in sizing.py to {value}"


def test_no_constant_is_left_out_of_the_comparison():
    assert set(MEASURED) == {name for name, value in vars(sizing).items() if isinstance(value, sizing.Measurement)}


def test_what_the_code_decides_is_what_is_reckoned_with():
    assert sizing.TOKENS_AT_ONCE == vectors._TOKENS_AT_ONCE
    assert (sizing.CHECK_WINDOWS, sizing.GATE_WINDOWS) == (vectors.VALIDATION_WINDOWS, MAX_WINDOWS)


def test_the_formulas_give_what_was_measured_on_the_base_it_was_measured_on():
    assert SMOLLM2.values == sizing.STORE_PARAMETERS.value
    assert figure("a user, norm float16, as stored") == sizing.NORM_BYTES.value
    assert figure("a user, LoRA-r4 float16, for comparison") == sizing.LORA_BYTES.value
    assert figure("disk, store", users=7) == 7 * sizing.STORE_BYTES.value
    assert 4 * SMOLLM2.multiplied * sizing.STEP_TOKENS == sizing.STEP_OPERATIONS.value


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
        12_800 / sizing.TOKENS_PER_SECOND.value
    )
    assert not [each for each in size_fleet(1, "30m") if "serving" in each.what]


# Against measurements that no constant comes from


def result(file):
    return json.loads((RESULTS / file).read_text())


def error(predicted, was):
    """Of a prediction, as a share of what was measured: above zero if it says too much."""
    return predicted / was - 1


def test_the_sqlite_file_of_small_adapters_is_as_large_as_predicted():
    packed = result("packed.json")
    assert packed["parameters"] == SHAPES["30m"].values
    predicted = figure("disk, store", packed["adapters"], "30m")
    assert error(predicted, packed["pack"]["store_bytes"]) == pytest.approx(0.041, abs=0.001)


@pytest.mark.parametrize("user", ["programmer", "novelist", "scientist"])
def test_adapters_of_people_are_as_large_as_predicted(user):
    contenders = result("quality.json")["users"][user]
    assert figure("a user, norm float16, as stored") == contenders["norm by adamw on the bare base"]["bytes"]
    assert figure("a user, LoRA-r4 float16, for comparison") == contenders["lora-r4 on the bare base"]["bytes"]


def test_training_takes_about_as_long_as_predicted():
    sweep = result("sweep.json")
    errors = []
    for run in sweep["runs"]:
        recipe = run["recipe"]
        trained = recipe["steps"] * recipe["windows_per_step"] * recipe["window"]
        people = run["curves"].values()
        read = sum(map(len, people)) // len(people) * sizing.CHECK_WINDOWS * recipe["window"]
        seconds = len(people) * training_seconds(SMOLLM2, trained, read)
        # The CPU time of both cores, which is twice the time of a machine that is busy.
        errors.append(error(2 * seconds, run["cpu_seconds"]))
    assert (sweep["environment"]["cores"], len(errors)) == (2, 9)
    assert min(errors) == pytest.approx(0.10, abs=0.01)
    assert max(errors) == pytest.approx(0.23, abs=0.01)


def test_training_two_people_takes_as_long_and_eight_no_more_memory_than_predicted():
    fleet = result("fleet.json")
    predicted = fleet["people"] * training_seconds(SMOLLM2, 100 * 512, 0)
    errors = [error(predicted, run["seconds"]) for run in fleet["runs"]["loop"]]
    assert (round(predicted), min(errors), max(errors)) == (
        123,
        pytest.approx(-0.05, abs=0.01),
        pytest.approx(0, abs=0.01),
    )
    (eight,) = fleet["runs"]["memory-8"]
    assert figure("RAM to train on a CPU, at most", base="smollm2-135m") / eight["peak_bytes"] == pytest.approx(
        1.94, abs=0.01
    )


def test_a_fleet_of_real_people_takes_less_time_than_predicted(monkeypatch):
    # By the recipe that it was trained with.
    monkeypatch.setitem(sizing.RECIPES, sizing.DEFAULT_RECIPE, sizing.RECIPES["adamw"])
    last = result("people.json")["training"][-1]
    people = last["done"] - last["before"]
    hours = figure("training, one machine of two cores", people)
    assert (people, round(hours, 2)) == (78, 1.76)
    assert error(hours, last["seconds"] / 3600) == pytest.approx(0.20, abs=0.01)


def test_serving_fewer_at_once_takes_more_machines_than_predicted_and_more_at_once_fewer():
    measured_rates = result("serving.json")["runs"]["users"]
    rates = {int(users): statistics.median(each) for users, each in measured_rates.items()}
    assert rates[32] == sizing.TOKENS_PER_SECOND.value
    assert error(rates[32], rates[64]) == pytest.approx(-0.18, abs=0.01)
    assert error(rates[32], rates[16]) == pytest.approx(0.32, abs=0.01)


# The page


@pytest.mark.parametrize(("table", "users"), [(0, 215_000), (1, 10_000_000)])
def test_the_tables_of_the_page_are_what_is_reckoned(table, users):
    page = (RESULTS.parents[1] / "docs" / "scale.md").read_text().split("## Two fleets")[1]
    of_users = page.split("users, one release each, 100 requests a second:")[table + 1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in of_users.splitlines() if "|" in line]
    _, _, *rows = rows
    assert len(rows) == 11
    reckoned = [{each.what: each.in_words for each in size_fleet(users, base, 100.0)} for base in SHAPES]
    assert rows == [[what, *(figures[what] for figures in reckoned)] for what, *_ in rows]


def test_every_figure_says_where_it_comes_from():
    for each in size_fleet(215_000, "8b", 10.0):
        assert all(asdict(each)[key] for key in ("what", "unit", "source"))
        assert each.in_words
