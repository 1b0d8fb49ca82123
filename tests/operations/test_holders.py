"""Whoever holds something of a user is listed, is asked, and has nothing of them afterwards."""

import ast
import gc
import hashlib
import importlib
import json
import pkgutil
import subprocess
import sys
from collections import OrderedDict, deque
from contextlib import contextmanager
from inspect import isabstract
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import numpy as np
import pytest
import torch
from tests.cli.conftest import writing

import sharedllm
from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.layouts import layout_of
from sharedllm.holder import Holder
from sharedllm.http import jobs as jobs_module
from sharedllm.http.jobs import Jobs
from sharedllm.http.service import Service
from sharedllm.operations.adapt import adapt
from sharedllm.operations.erase import HOLDERS, erase
from sharedllm.operations.workplace import Workplace
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits, Request, Token
from sharedllm.store import open_keys, open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store
from sharedllm.store.evidence.signing import make_key, read_private, snapshot_key_file
from sharedllm.store.release_format import STORED, id_sha256
from sharedllm.store.snapshots import SnapshotFolder, pack
from sharedllm.training.checkpoints import Checkpoints, Progress, checkpoint_folder, digest, report_folder
from sharedllm.training.prior import PriorRecipe
from sharedllm.training.recipes import RECIPES, Recipe

USER = "alice of the long name"
PASSED = GateOutcome(True, "passed: a reason of hers")
WAITING = "import sys; sys.stdin.readline(); print('{\"step\": 1}', flush=True); sys.stdin.read()"

KEPT_UNDER_AN_ID = {
    "sharedllm.training.checkpoints": "checkpoints",
    "sharedllm.operations.measure_fleet": "readings",
    "sharedllm.operations.priors": "priors",
    "sharedllm.store.release_format": "store",
    "sharedllm.store.sql.protection": "store",
    "sharedllm.store.encryption.migrate": "store",
    "sharedllm.store.snapshots.read": "snapshots",
    "sharedllm.store.snapshots.write": "snapshots",
    # Empty files, which are gone when nobody trains or erases them any more.
    "sharedllm.operations.locks": None,
}
"""Modules that name rows or files after users, and which holder forgets those."""


def modules():
    return [each.name for each in pkgutil.walk_packages(sharedllm.__path__, "sharedllm.")]


def kinds(holder=Holder):
    """Every class of this package that holds something of users."""
    for each in holder.__subclasses__():
        if each.__module__.startswith("sharedllm."):
            yield each
            yield from kinds(each)


def test_every_holder_has_a_place_in_the_order_and_every_place_a_holder():
    for name in modules():
        if not name.endswith("__main__") and "migrations" not in name:
            importlib.import_module(name)
    found = [each for each in kinds() if not isabstract(each)]
    assert {each.holds for each in found} == set(HOLDERS)
    assert len(set(HOLDERS)) == len(HOLDERS)


@pytest.mark.slow
def test_whatever_is_named_after_users_is_some_holders():
    named = set()
    for name in modules():
        path = Path(importlib.util.find_spec(name).origin)
        calls = (each.func for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call))
        if any(isinstance(call, ast.Name) and call.id in ("digest", "id_sha256") for call in calls):
            named.add(name)
    assert named <= set(KEPT_UNDER_AN_ID), "add a Holder for what this keeps, and list it here and in HOLDERS"
    assert {holder for holder in KEPT_UNDER_AN_ID.values() if holder} <= set(HOLDERS)


@pytest.fixture(params=["plain", "encrypted"])
def place(request, tmp_path, monkeypatch):
    """Where a store, a vault, the data folder and a snapshot are."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setitem(RECIPES, "default", Recipe("default", steps=6, window=64))
    popen = subprocess.Popen
    monkeypatch.setattr(
        jobs_module.subprocess, "Popen", lambda command, **options: popen([sys.executable, "-c", WAITING], **options)
    )
    open_store(tmp_path / "store.db").close()
    if request.param == "encrypted":
        monkeypatch.setenv("SHAREDLLM_MASTER_KEY_FILE", str(tmp_path / "private" / "master.key"))
        write_master_key(tmp_path / "private" / "master.key")
        encrypt_store(tmp_path / "store.db", lambda _: None)
    return tmp_path


def row_of(base, seed):
    layout = layout_of(base)
    return np.random.default_rng(seed).normal(0, 0.3, layout.size).astype(STORED).astype(np.float32)


def traces(release, text):
    """What tells that somebody was here, in files."""
    values = release.adapter.values
    ids = [USER.encode(), id_sha256(USER), digest(USER).encode(), release.id.encode()]
    sha256 = hashlib.sha256((text + USER).encode()).hexdigest().encode()
    return [*ids, values.astype(STORED).tobytes()[:64], values.tobytes()[:64], text[:80].encode(), sha256]


def files_with(trace, folder):
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and (trace in path.read_bytes() or trace in path.name.encode())
    ]


def reachable(root):
    """Whatever an object of this package leads to, through its like and through containers."""
    seen, left = {}, [root]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        ours = type(each).__module__.startswith("sharedllm.")
        if ours or isinstance(each, (dict, list, tuple, set, frozenset, deque, OrderedDict)):
            left += [found for found in gc.get_referents(each) if not isinstance(found, type)]
    return seen.values()


def priors_of(place, user, text):
    """A manifest of somebody and two others, who agreed to be in a prior."""
    lines = [{"user": each, "text": text + each, "shared": True} for each in (user, "carol", "dave")]
    (place / "people.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return place / "people.jsonl"


@contextmanager
def interrupted(what, total):
    """A bar at which the training of a prior is interrupted after a step."""

    def advance(amount):
        if what == "training the prior":
            raise KeyboardInterrupt

    yield advance


def in_memory(root, release):
    """What objects still hold of a user: their id or their release's, and their row in any tensor."""
    rows = [torch.from_numpy(release.adapter.values[:16].copy()).to(kind) for kind in (torch.float32, torch.float64)]
    for each in reachable(root):
        if isinstance(each, str) and (USER in each or release.id in each):
            yield each
        elif isinstance(each, (torch.Tensor, np.ndarray)) and each.size:
            values = each.detach().cpu().contiguous().numpy() if isinstance(each, torch.Tensor) else each
            data = values.tobytes()
            if any(row.numpy().tobytes() in data for row in rows):
                yield f"a row in {tuple(each.shape)}"


@pytest.fixture
def forgetting(monkeypatch):
    """What each holder holds that was asked to forget somebody, in that order, and an event for when an engine was."""
    asked, of_engine = [], Event()

    def noting(forget):
        def noted(self, user):
            asked.append(self.holds)
            if isinstance(self, Engine):
                of_engine.set()
            return forget(self, user)

        return noted

    for kind in kinds():
        if "forget" in vars(kind):
            monkeypatch.setattr(kind, "forget", noting(kind.forget))
    return asked, of_engine


@pytest.mark.slow
def test_nobody_has_anything_of_who_is_erased_and_the_receipt_says_what_each_had(place, base_of, folder_of, forgetting):
    base, text, events = base_of("llama"), writing("alice"), SimpleQueue()
    address = str(place / "store.db")
    asked_of, engine_was_asked = forgetting

    def take(event):
        events.put(event)
        # The request is not to end by itself, however long the rest of this takes.
        engine_was_asked.wait(60)

    with open_store(address) as store, open_keys(address) as keys:
        for user, seed in (("bob", 1), (USER, 2)):
            release = store.publish(user, Adapter("norm", base.fingerprint, row_of(base, seed)), PASSED)
        keys.create(user=USER)
        make_key(snapshot_key_file())
        pack(store, place / "monday", read_private(snapshot_key_file()), base=base.fingerprint, format="norm")
        row = torch.tensor(release.adapter.values)
        progress = Progress(1, row, row, row, row, 1.0, 0, [])
        Checkpoints(checkpoint_folder(), base.fingerprint).save(USER, text, RECIPES["default"], progress)
        report_folder(checkpoint_folder()).mkdir()
        (report_folder(checkpoint_folder()) / f"{digest(USER)}-read.safetensors").write_bytes(row.numpy().tobytes())
        with Workplace(base, general=text) as here:
            adapt(here, priors_of(place, USER, text), "ours", PriorRecipe(rank=1, steps=1, window=32))
            here.bar = interrupted
            with pytest.raises(KeyboardInterrupt):
                adapt(here, place / "people.jsonl", "unfinished", PriorRecipe(rank=1, steps=2, window=32))
        (place / "people.jsonl").unlink()
        engine = Engine(base, Limits(running=2, cache_tokens=1024))
        service = Service(engine, store, keys=keys, jobs=Jobs(folder_of("llama"), address))
        engine.start()
        try:
            job = service.jobs.submit(USER, text, RECIPES["default"])
            asked = Request([5, 6, 7], USER, release.id, release.adapter.values, max_tokens=400, ignore_end=True)
            engine.submit(asked, take)
            del asked
            assert isinstance(events.get(timeout=60), Token)
            with service.arrivals.expecting(USER):
                assert all(files_with(trace, place) for trace in traces(release, text)[1:6])
                assert all(set(in_memory(holder, release)) for holder in service.holders)
                assert any(found.startswith("a row in") for found in in_memory(engine, release))
                snapshot = SnapshotFolder(store, place / "monday")
                receipt = erase(store, USER, others=[*service.holders, snapshot])
            assert tuple(dict.fromkeys(asked_of)) == HOLDERS, "have erase ask it, or whoever calls erase hand it over"
            assert job.state == "cancelled"
            assert receipt.counts == {
                "uploads on their way": 1,
                "trainings": 1,
                "checkpoints of training": 1,
                "contributions to priors": 2,
                "releases": 1,
                "events": 1,
                "API keys": 1,
                "encryption key": int((place / "private").exists()),
                "running requests": 1,
            }
            assert [(each.where, each.outcome) for each in receipt.derived] == [
                ("data folder", "dropped"),
                ("ours", "to be rebuilt: sharedllm base adapt"),
                ("unfinished", "dropped"),
                (str(place / "monday"), "rebuilt without them"),
            ]
            del job
            assert list(in_memory(service, release)) == []
            assert [file for trace in traces(release, text) for file in files_with(trace, place)] == []
            assert store.served("bob").user == "bob"
        finally:
            engine.close()
            service.jobs.close()
