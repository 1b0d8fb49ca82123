"""A prior whose steps are shared out over workers: the same prior, whoever is lost on the way."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.cli.conftest import writing
from tests.training.test_prior import RECIPE, contributors

from sharedllm.base.fingerprint import fingerprint
from sharedllm.base.loading import load_base
from sharedllm.cluster import prior_gradients
from sharedllm.cluster.prior_gradients import GradientJob, GradientWorker, SharedOut
from sharedllm.cluster.workers.executors import Executor, Halted, Lost, Over, WorkerEvent, check_base
from sharedllm.cluster.workers.local import LocalExecutor
from sharedllm.errors import BaseError, InvalidInput, TrainingError, WrongBase
from sharedllm.training.frame_gradients import FrameGradients
from sharedllm.training.prior import train_prior

# To what the sums of float64 numbers in another order come to after a dozen steps; norms are computed in float32.
CLOSE = {"rtol": 1e-4, "atol": 1e-7}


class Here(Executor):
    """Workers of this process. `lost` says whether one is lost with the work that is the how manyth."""

    def __init__(self, base, workers, rank=RECIPE.rank, lost=lambda number: None):
        self._worker, self._workers, self._lost = GradientWorker(base, rank), workers, lost
        self._busy, self.handed_out = {}, []

    @property
    def idle(self):
        return self._workers - len(self._busy)

    @property
    def busy(self):
        return len(self._busy)

    def submit(self, work):
        self.handed_out.append(len(work.own))
        self._busy[work.number] = self._worker.do(work)
        if lost := self._lost(len(self.handed_out)):
            self._busy[work.number] = lost

    def wait(self, patience=None):
        # The last one first, so that answers come in another order than they are added in.
        number, answers = next(reversed(self._busy.items()))
        if isinstance(answers, Lost | Halted):
            del self._busy[number]
            return WorkerEvent(number, answers)
        what = next(answers, Over())
        if isinstance(what, Over):
            del self._busy[number]
        return WorkerEvent(number, what)

    def close(self):
        self._worker._gradients.remove()


@contextmanager
def shared_out(base, workers, recipe=RECIPE, **options):
    with Here(base, workers, **options) as here:
        yield SharedOut(here, recipe)


def trained(base, folder, workers=None, recipe=RECIPE, **options):
    """The values that a training ends with; None trains without workers."""
    people = options.pop("people", contributors())
    on_step = options.pop("on_step", None)
    if workers is None:
        train_prior(base, people, recipe, folder=folder, on_step=on_step)
    else:
        with shared_out(base, workers, recipe, **options) as shared:
            train_prior(base, people, recipe, folder=folder, on_step=on_step, gradient=shared.gradient)
    with safe_open(folder / "frames-in-training.safetensors", "pt") as stored:
        return stored.get_tensor("values")


@pytest.mark.parametrize("bound", [None, 0.01])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_gradients_are_those_of_one_process_to_units_in_the_last_place(base_of, workers, bound):
    base = base_of("llama", torch.float64)
    random = np.random.default_rng(0)
    alone = FrameGradients(base, 2)
    values = torch.from_numpy(0.2 * random.standard_normal(alone.size))
    own = torch.from_numpy(0.2 * random.standard_normal((5, alone.components)))
    windows = random.integers(3, 200, (10, 12))
    expected = alone.gradient(values, own, windows, bound)
    alone.remove()
    with shared_out(base, workers, replace(RECIPE, people=9)) as shared:
        found = shared.gradient(values, own, windows, bound)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float64
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_prior_is_the_same_up_to_rounding_for_any_number_of_workers(base_of, tmp_path, monkeypatch, workers, noise):
    monkeypatch.setattr("sharedllm.training.prior.secrets.randbits", lambda bits: 7)
    base, recipe = base_of("llama", torch.float64), replace(RECIPE, noise=noise)
    alone = trained(base, tmp_path / "alone", recipe=recipe)
    assert torch.allclose(trained(base, tmp_path / "shared", workers, recipe), alone, **CLOSE)


def test_every_worker_has_a_part_of_a_step(base_of):
    with Here(base_of(), 2) as here:
        train_prior(base_of(), contributors(), replace(RECIPE, steps=2), gradient=SharedOut(here, RECIPE).gradient)
        assert here.handed_out == [1, 2, 1, 2]


def test_a_step_that_takes_nobody_is_nobodys_work(base_of):
    recipe, losses = replace(RECIPE, noise=0.5, people=1, steps=20), []
    with shared_out(base_of(), 1, recipe) as shared:
        train_prior(
            base_of(), contributors(12), recipe, on_step=lambda _, loss: losses.append(loss), gradient=shared.gradient
        )
    assert len(losses) == 20
    assert any(np.isnan(losses))


def test_workers_who_are_lost_now_and_then_change_no_bit(base_of, tmp_path):
    undisturbed = trained(base_of(), tmp_path / "undisturbed", 2)
    lost = {number: Lost("killed", ready=number % 2 == 0) for number in (1, 2, 7, 8, 11, 16)}
    assert torch.equal(trained(base_of(), tmp_path / "lost", 2, lost=lost.get), undisturbed)


@pytest.mark.parametrize(("ready", "said"), [(True, "over the same people"), (False, "loaded the base")])
def test_workers_who_are_lost_again_and_again_end_the_run_which_says_what_to_do(base_of, tmp_path, ready, said):
    steps = []
    with pytest.raises(TrainingError, match=f"3 workers .*{said}.*the last: killed by SIGKILL") as refusal:
        trained(
            base_of(),
            tmp_path,
            2,
            on_step=lambda step, _: steps.append(step),
            lost=lambda number: Lost("killed by SIGKILL", ready) if number > 8 else None,
        )
    assert "use fewer" in refusal.value.remedy
    assert steps == [1, 2, 3, 4]
    again = trained(base_of(), tmp_path, 2, on_step=lambda step, _: steps.append(step))
    assert steps == list(range(1, RECIPE.steps + 1))
    assert torch.equal(again, trained(base_of(), tmp_path / "whole", 2))


@pytest.mark.slow
def test_a_run_goes_on_with_other_workers(base_of, tmp_path):
    base = base_of("llama", torch.float64)

    def interrupt(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    whole = trained(base, tmp_path / "whole", 2)
    for after in (2, 3, None):
        with pytest.raises(KeyboardInterrupt):
            trained(base, tmp_path / str(after), 2, on_step=interrupt)
        resumed = trained(base, tmp_path / str(after), after)
        assert torch.equal(resumed, whole) if after == 2 else torch.allclose(resumed, whole, **CLOSE)


def test_an_error_that_would_meet_every_worker_ends_the_run(base_of, tmp_path):
    error = BaseError("It does not load", remedy="Mend it.")
    with pytest.raises(BaseError, match="does not load"):
        trained(base_of(), tmp_path, 2, lost=lambda number: Halted(error))


def test_more_workers_than_a_step_reads_people_are_refused(base_of):
    with pytest.raises(InvalidInput, match=r"4 workers.*3 people"), shared_out(base_of(), 4):
        pass


def test_no_workers_are_none(folder_of):
    with pytest.raises(InvalidInput, match="0 workers"):
        LocalExecutor(GradientJob("small", "0", 2), 0)


def test_a_base_that_is_another_one_on_the_worker_is_refused(base_of):
    with pytest.raises(WrongBase, match="on this worker"):
        check_base(base_of(), "small", "0" * 64)


# Processes


@pytest.fixture
def job(tmp_path, folder_of, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_CACHE", str(tmp_path / "cache"))
    folder = folder_of("llama")
    return GradientJob(str(folder), fingerprint(folder), RECIPE.rank)


@pytest.mark.rare
def test_a_killed_worker_and_one_that_hangs_cost_nothing_and_stay_nowhere(tmp_path, job, monkeypatch):
    monkeypatch.setattr(prior_gradients, "_LEAST_PATIENCE", 5.0)
    base = load_base(job.base)
    signals = {3: signal.SIGKILL, 6: signal.SIGSTOP}

    def disturb(step, loss):
        if step in signals:
            os.kill(multiprocessing.active_children()[0].pid, signals[step])

    undisturbed = trained(base, tmp_path / "here", 2)
    with LocalExecutor(job, 2) as executor:
        gradient = SharedOut(executor, RECIPE).gradient
        train_prior(base, contributors(), RECIPE, folder=tmp_path / "there", on_step=disturb, gradient=gradient)
    assert not multiprocessing.active_children()
    with safe_open(tmp_path / "there" / "frames-in-training.safetensors", "pt") as stored:
        assert torch.equal(stored.get_tensor("values"), undisturbed)


@pytest.mark.slow
def test_a_base_that_does_not_load_where_the_worker_is_ends_the_run_with_its_own_error(base_of, tmp_path, job):
    with LocalExecutor(replace(job, base=str(tmp_path))) as executor, pytest.raises(BaseError, match=str(tmp_path)):
        train_prior(base_of(), contributors(), RECIPE, gradient=SharedOut(executor, RECIPE).gradient)
    assert not multiprocessing.active_children()


def alive(mark):
    """Processes in whose environment a word is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.fixture
def adapting(tmp_path, folder_of):
    """Start `sharedllm base adapt` with a mark in its environment, which all that it starts inherit."""
    people = tmp_path / "people.jsonl"
    people.write_text(
        "".join(
            json.dumps({"user": user, "text": f"what {user} says. {writing(user, 3_000)}", "shared": True}) + "\n"
            for user in ("alice", "carol", "dave")
        )
    )
    environ = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "SHAREDLLM_CACHE": str(tmp_path / "cache"),
        "SHAREDLLM_TEST_MARK": tmp_path.name,
    }
    # Steps that are told, and general text that need not be fetched.
    command = f"""
import sys
from sharedllm.cli.main import main
from sharedllm.text import samples
from sharedllm.training import prior
from tests.cli.conftest import writing
samples.general_text = lambda: writing("general")
prior._CHECKPOINT_SECONDS = 0
train = prior.train_prior
if __name__ == "__main__":
    from sharedllm.operations import adapt
    def told(*given, on_step, **rest):
        def tell(step, loss):
            on_step(step, loss)
            print("step", step, flush=True)
        return train(*given, on_step=tell, **rest)
    adapt.train_prior = told
    sys.argv[1:] = ["base", "adapt", {str(folder_of("llama"))!r}, "--people", {str(people)!r}, *sys.argv[1:]]
    main()
"""

    def adapting(*options):
        return subprocess.Popen(
            [sys.executable, "-c", command, *options], env=environ, stdout=subprocess.PIPE, text=True
        )

    return adapting


@pytest.mark.rare
def test_a_killed_command_leaves_no_process_and_goes_on(adapting, tmp_path):
    options = ["--name", "ours", "--rank", "1", "--steps", "12", "--workers", "2"]
    with adapting(*options) as running:
        for line in running.stdout:
            if line == "step 5\n":
                running.kill()
                break
    until = time.monotonic() + 60
    while alive(tmp_path.name):
        assert time.monotonic() < until, "orphans"
        time.sleep(0.1)
    with adapting(*options) as running:
        steps = [int(line.split()[1]) for line in running.stdout if line.startswith("step ")]
    assert running.returncode == 0
    assert steps[0] in (5, 6, 7)
    assert steps[-1] == 12
    assert (tmp_path / "data" / "sharedllm" / "bases" / "ours" / "prior.json").is_file()
    assert not alive(tmp_path.name)
