"""A fleet of made-up people, and the workers that train them: here in this process, one pass of a batch at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sharedllm.cluster.fleets.job import FleetJob, ShardWork, Trainer
from sharedllm.cluster.fleets.run import Result, train_fleet
from sharedllm.cluster.fleets.shards import plan_fleet
from sharedllm.cluster.workers.executors import Executor, Halted, Lost, Over, WorkerEvent
from sharedllm.errors import SharedLLMError
from sharedllm.evaluation.gate import Gate
from sharedllm.store import open_store
from sharedllm.training.recipes import Recipe

RECIPE = Recipe("r", learning_rate=2e-2, steps=6, windows_per_step=1, window=16, check_every=2, patience=2)


USERS = [f"user {number}" for number in range(8)]


def writing(name, length=2_600):
    """Made-up text of one author: a few letters of their own, some far more frequent than others."""
    random = np.random.default_rng(list(name.encode()))
    own = random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6, replace=False)
    return "".join(random.choice([*own, " ", "\n"], length, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.09, 0.01]))


def write_manifest(path, texts):
    lines = [{"user": user, **(text if isinstance(text, dict) else {"text": text})} for user, text in texts.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def in_this_process(plan, job):
    """What the plan's shards become without workers: each user's values, as a store keeps them."""
    place = Trainer(replace(job, checkpoints=job.checkpoints / "other"))
    values = {}
    for shard in plan.shards():
        texts = [text for _, _, text in plan.read(shard)]
        for judged in place.do(ShardWork(shard.number, texts)):
            values[judged.user] = judged.adapter.values.astype(np.float16)
    return values


class Here(Executor):
    """Workers of this process. One of them is lost whenever it comes to a user who is deadly."""

    def __init__(self, place, workers=1):
        self.place, self.workers = place, workers
        self.deadly = set()
        self.trained = []
        self.handed_out = []
        self.startless = False
        self._busy = {}

    @property
    def idle(self):
        return self.workers - len(self._busy)

    @property
    def busy(self):
        return len(self._busy)

    def submit(self, work):
        self.handed_out.append(sorted(text.user for text in work.texts))
        self._busy[work.number] = self.place.do(work, self._step)

    def wait(self, patience=None):
        # Everyone at work gets a turn, so that results of several workers interleave.
        number, training = next(iter(self._busy.items()))
        del self._busy[number]
        if self.startless:
            return WorkerEvent(number, Lost("no memory for the base", ready=False))
        try:
            judged = next(training)
        except StopIteration:
            return WorkerEvent(number, Over())
        except SharedLLMError as error:
            return WorkerEvent(number, Halted(error))
        except RuntimeError as error:
            return WorkerEvent(number, Lost(str(error), ready=True))
        self._busy[number] = training
        return WorkerEvent(number, judged)

    def close(self):
        for training in self._busy.values():
            training.close()
        self._busy = {}

    def _step(self, user, step):
        self.trained.append((user, step))
        if user in self.deadly:
            raise RuntimeError(f"killed by {user}")


class Fleet:
    """One manifest, one store and one machine's worth of workers."""

    def __init__(self, folder, base, store):
        self.base, self.store = base, store
        self.manifest = folder / "fleet.jsonl"
        self.checkpoints = folder / "training"
        self.recipe, self.size, self.workers = RECIPE, 3, 1
        self.executors = []

    def write(self, texts):
        write_manifest(self.manifest, texts)

    def job(self):
        general = writing("general", 600)
        return FleetJob("small", self.base.fingerprint, self.recipe, general, self.checkpoints, Gate())

    def start(self, deadly=(), startless=False):
        """The results as they come; what the run leaves behind can be looked at in between."""
        job = self.job()
        executor = Here(Trainer(job, self.base), self.workers)
        executor.deadly, executor.startless = set(deadly), startless
        self.executors.append(executor)
        plan = plan_fleet(self.manifest, self.size)
        return train_fleet(self.store, plan, job, executor, origin=f"manifest:{self.manifest}")

    def train(self, **options):
        try:
            results = [result for result in self.start(**options) if isinstance(result, Result)]
        finally:
            self.executors[-1].place.workplace.close()
        assert len({result.user for result in results}) == len(results)
        return {result.user: result for result in results}

    def values(self, user):
        return self.store.release(user, 1).adapter.values


@pytest.fixture
def fleet(tmp_path, base_of):
    with open_store(":memory:") as store:
        yield Fleet(tmp_path, base_of("llama", torch.float64), store)


@pytest.fixture
def eight(fleet):
    """The fleet of all `USERS`, each with a text."""
    fleet.write({user: writing(user) for user in USERS})
    return fleet
