import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments.catalogue.bet import BETS, bet_named
from experiments.catalogue.context import Context
from experiments.catalogue.protocols import QUICK, recipes
from experiments.catalogue.verdict import Measured, criteria_hash, judge

from sharedllm.errors import InvalidInput, UnknownName
from sharedllm.evaluation.perplexity import base_losses
from sharedllm.training import step_windows, vectors
from sharedllm.training.baselines import train_baseline

NUMBERS = ["04", "13", "18", "31", "46", "49", "52", "53", "54", "55", "58", "60", "61", "63", "70", "71"]
ROOT = BETS.parent.parent
STABLE = ("verdict", "measurements", "improvements_over_base", "readings", "criteria_sha256")


def test_all_are_found_under_the_names_of_their_files(bets):
    assert sorted(bets) == NUMBERS
    assert all((BETS / f"{bet.name}.py").is_file() for bet in bets.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_the_hash_is_the_same_for_the_file_that_is_run_as_for_the_module_that_is_imported(bets, number):
    bet = bets[number]
    run = runpy.run_path(str(BETS / f"{bet.name}.py"), run_name="elsewhere")
    assert criteria_hash(run["CRITERIA"]) == criteria_hash(bet.criteria)
    assert run["BET"].criteria_sha256 == bet.criteria_sha256


def test_a_bet_is_found_by_its_number(bets):
    assert bet_named("4") == bet_named("04") == bets["04"]
    with pytest.raises(UnknownName):
        bet_named("99")


@pytest.mark.parametrize("number", ["49", "54", "55", "61"])
def test_what_the_documents_ran_at_one_rate_runs_under_both_protocols(bets, number):
    assert bets[number].protocols == ("documented", "tuned")


@pytest.mark.parametrize("number", NUMBERS)
def test_without_measurements_no_bet_has_a_verdict(bets, number):
    bet = bets[number]
    verdict = judge(bet.criteria, Measured(bet.users, {}))
    assert {tier: found["holds"] for tier, found in verdict.items()} == dict.fromkeys(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_every_bet_runs_and_measures_what_its_criteria_need(bets, quick, number):
    bet = bets[number]
    result = quick(bet)
    # A share of a gain that a few steps did not bring is undefined, but it has been measured.
    needed = {name for found in result["verdict"].values() for name in found["missing"]}
    assert needed <= {name for name, found in result["measurements"].items() if found["value"] is None}
    json.dumps(result, allow_nan=False)


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(bets, quick, tmp_path):
    first, second = (quick(bets["54"], out=tmp_path / name) for name in ("first", "second"))
    assert {key: first[key] for key in STABLE} == {key: second[key] for key in STABLE}


@pytest.mark.slow
def test_adapters_are_reused_and_give_the_same_numbers(bets, quick, tmp_path):
    said = []
    first = quick(bets["54"], say=said.append)
    assert any(line.startswith("training") for line in said)
    files = sorted((tmp_path / "out").rglob("*.safetensors"))
    assert [path.name for path in files if path.parent.name == "quick"] == [
        "49_norm_novelist-tuned.safetensors",
        "49_norm_programmer-tuned.safetensors",
        "49_norm_scientist-tuned.safetensors",
    ]
    said.clear()
    second = quick(bets["53"], say=said.append)
    assert not any(line.startswith("training") for line in said)
    assert first["world"]["adapters"] == second["world"]["adapters"]
    own = [result["measurements"][name] for result, name in ((first, "ppl/novelist/own"), (second, "ppl/novelist/raw"))]
    assert own[0] == own[1]


@pytest.mark.slow
def test_an_adapter_of_another_text_is_not_reused(bets, quick, made_up_text):
    quick(bets["54"])
    said = []
    quick(bets["54"], say=said.append, read_text=lambda name: made_up_text(name + "'s twin"))
    assert sum(line.startswith("training") for line in said) == 3


@pytest.mark.slow
def test_a_damaged_adapter_is_made_again(bets, quick, tmp_path):
    first = quick(bets["54"])
    path = tmp_path / "out" / "quick" / "49_norm_novelist-tuned.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert quick(bets["54"])["measurements"] == first["measurements"]


@pytest.mark.slow
def test_a_full_copy_reads_the_same_from_its_file(bets, quick):
    first = quick(bets["49"])
    assert quick(bets["49"])["measurements"] == first["measurements"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", ["lora-r4", "full"])
def test_a_copy_from_its_file_is_the_copy_that_was_trained(base_of, made_up_text, tmp_path, method, dtype):
    base = base_of("llama", dtype)
    context = Context(base, ("ann",), (0,), "documented", out=tmp_path, size=QUICK, read_text=made_up_text)
    copy = context.copy("ann", method)
    (recipe,) = recipes("documented", method, steps=QUICK.max_steps)
    trained = train_baseline(base, context.text("ann"), replace(recipe, window=QUICK.window))
    expected = base_losses(trained.base, context.heldout("ann"))
    assert np.array_equal(context.read_plain("ann", copy.base).nats, expected.nats)
    assert copy.bytes == trained.bytes


def test_a_killed_choice_of_rates_goes_on_where_it_was(base_of, made_up_text, tmp_path):
    def context(say):
        size = {"out": tmp_path, "size": QUICK, "read_text": made_up_text, "say": say}
        return Context(base_of(), ("ann",), (0,), "tuned", **size)

    def interrupt(line):
        if "0.001" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        context(interrupt).copy("ann", "lora-r4")
    said = []
    context(said.append).copy("ann", "lora-r4")
    assert [line for line in said if line.startswith("training")] == ["training lora-r4 of ann: 2 steps at 0.001"]


def test_other_seeds_follow_the_first_ones_choice_of_rate(base_of, made_up_text, tmp_path):
    context = Context(
        base_of(), ("ann",), (0, 1), "tuned", out=tmp_path, size=QUICK, read_text=made_up_text, say=lambda line: None
    )
    second, first = context.copy("ann", "lora-r4", seed=1), context.copy("ann", "lora-r4", seed=0)
    assert second.rate == first.rate
    assert list(context.used["49_lora_ann-tuned-seed1.safetensors"]["losses"]) == [repr(first.rate)]


def test_a_longer_training_goes_on_from_a_shorter_one_and_gives_what_it_gives_alone(
    base_of, made_up_text, tmp_path, monkeypatch
):
    taken = []
    monkeypatch.setattr(
        vectors, "step_windows", lambda text, recipe, step: taken.append(step) or draw(text, recipe, step)
    )
    draw = step_windows.step_windows

    def context(name):
        size = replace(QUICK, max_steps=5)
        return Context(base_of(), ("ann",), (0,), "documented", out=tmp_path / name, size=size, read_text=made_up_text)

    alone, after = context("alone"), context("after")
    expected = alone.adapter("ann", steps=5)
    assert taken == [0, 1, 2, 3, 4]
    taken.clear()
    after.adapter("ann", steps=2)
    assert np.array_equal(after.adapter("ann", steps=5), expected)
    assert taken == [0, 1, 2, 3, 4]


def test_a_bet_that_trains_once_refuses_several_seeds(bets, quick):
    with pytest.raises(InvalidInput, match="one seed"):
        quick(bets["54"], seeds=(0, 1))


@pytest.mark.slow
def test_a_tuned_baseline_tries_every_rate_and_keeps_the_best(bets, quick):
    about = quick(bets["49"])["world"]["adapters"]["49_lora_novelist-tuned.safetensors"]
    assert list(about["losses"]) == ["0.0002", "0.0005", "0.001"]
    assert about["losses"][repr(about["rate"])] == min(about["losses"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["49_adapter_shootout", "61_personalization_vs_regularization"])
def test_the_documented_command_is_there(name):
    command = [sys.executable, "-m", f"experiments.bets.{name}", "--help"]
    environment = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "--protocol [documented|tuned]" in done.stdout
    assert "--quick" in done.stdout


def test_no_bet_holds_a_path_of_this_machine(bets):
    assert not any(str(Path.home()) in (BETS / f"{bet.name}.py").read_text() for bet in bets.values())
