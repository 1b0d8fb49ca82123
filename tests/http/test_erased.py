"""What an erasure by another process does here, and that asking about it never ends."""

import asyncio
import json
import logging
from types import SimpleNamespace

import pytest
import torch
from tests.http.conftest import PASSED, FakeEngine

from sharedllm.errors import CorruptAdapter, StoreBusy
from sharedllm.http import erased
from sharedllm.http.erased import stop_erased, watch
from sharedllm.http.logs import JSONLines
from sharedllm.http.service import Service
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Limits, Request
from sharedllm.training.checkpoints import Checkpoints, Progress, checkpoint_folder, digest
from sharedllm.training.recipes import Recipe


@pytest.fixture
def service(published):
    return Service(FakeEngine(published.base), published.store)


def release(service, user):
    return user, service.store.served(user).id


def test_whoever_the_store_still_holds_goes_on(service):
    stop_erased(service, [release(service, "alice"), release(service, "bob")], {})
    assert service.engine.stopped == []


def test_whoever_it_does_not_hold_any_more_is_stopped(service):
    asked = [release(service, "alice"), release(service, "bob")]
    service.store.erase("alice")
    stop_erased(service, asked, {})
    assert service.engine.stopped == ["alice"]


@pytest.mark.parametrize("known", [False, True])
def test_a_release_from_before_an_erasure_ends_though_the_user_has_come_back(service, published, known):
    (old,), verified = [release(service, "alice")], {}
    if known:
        stop_erased(service, [old], verified)
    service.store.erase("alice")
    service.store.publish("alice", published.adapter(7), PASSED)
    stop_erased(service, [old], verified)
    assert service.engine.stopped == ["alice"]
    stop_erased(service, [release(service, "alice")], verified)
    assert service.engine.stopped == ["alice"]


def test_an_older_release_of_somebody_who_stayed_goes_on(service, published):
    old = release(service, "alice")
    service.store.publish("alice", published.adapter(7), PASSED)
    stop_erased(service, [old, release(service, "alice")], {})
    assert service.engine.stopped == []


def test_all_releases_are_read_once_and_then_only_where_the_user_stands(service, monkeypatch):
    asked, verified, read = [release(service, "alice")], {}, []
    releases = service.store.releases
    monkeypatch.setattr(service.store, "releases", lambda user: read.append(user) or releases(user))
    for _ in range(3):
        stop_erased(service, asked, verified)
    assert read == ["alice"]


def test_one_users_damage_does_not_hide_anothers_erasure(service, monkeypatch):
    asked = [release(service, "alice"), release(service, "bob")]
    service.store.erase("bob")
    user = service.store.user

    def damaged(name):
        if name == "alice":
            raise CorruptAdapter("Release 1 is damaged", remedy="Restore it.")
        return user(name)

    monkeypatch.setattr(service.store, "user", damaged)
    with pytest.raises(CorruptAdapter):
        stop_erased(service, asked, {})
    assert service.engine.stopped == ["bob"]


@pytest.mark.parametrize("error", [StoreBusy("alice's secret", remedy="Wait."), RuntimeError("alice's secret")])
def test_watching_survives_whatever_goes_wrong_and_says_so_without_a_name(service, monkeypatch, caplog, error):
    monkeypatch.setattr(erased, "SECONDS", 0)
    asked, stopped = release(service, "alice"), asyncio.Event()
    answers = [error, ({asked}, set())]
    monkeypatch.setattr(service.engine, "releases", lambda: fail_or(answers.pop(0)))
    service.store.erase("alice")

    async def watching():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(service.engine, "forget", lambda user: loop.call_soon_threadsafe(stopped.set) or [])
        task = asyncio.create_task(watch(service))
        await asyncio.wait_for(stopped.wait(), 30)
        task.cancel()

    asyncio.run(watching())
    lines = [json.loads(JSONLines().format(record)) for record in caplog.records if record.name == "sharedllm.http"]
    assert lines[0]["level"] == logging.getLevelName(logging.WARNING).lower()
    assert lines[0]["error"] == type(error).__name__
    assert "secret" not in str(lines)


def test_watching_ends_jobs_and_drops_checkpoints_of_whom_another_process_erased(service, monkeypatch, tmp_path):
    monkeypatch.setattr(erased, "SECONDS", 0.01)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    row = torch.zeros(4)
    stays = service.store.begin(["alice", "bob"])
    for user in stays:
        progress = Progress(1, row, row, row, row, 1.0, 0, [])
        Checkpoints(checkpoint_folder(), "base-1", stays).save(user, "0" * 64, Recipe("r"), progress)
    service.store.erase("alice")
    ended = []
    service.jobs = SimpleNamespace(end_erased=ended.append)

    async def watching():
        task = asyncio.create_task(watch(service))
        while len(ended) < 2:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(watching())
    assert set(ended) == {service.store}
    assert [path.name.split("-")[0] for path in checkpoint_folder().glob("*.safetensors")] == [digest("bob")]


def fail_or(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_a_request_that_waits_with_an_erased_users_values_never_runs(published):
    engine = Engine(published.base, Limits(running=1, cache_tokens=512, table_bytes=0))
    try:
        service = Service(engine, published.store)
        found = published.store.served("alice")
        events = []
        engine.submit(Request([5, 6, 7], "alice", found.id, found.adapter.values), events.append)
        published.store.erase("alice")
        waiting, _ = engine.releases()
        stop_erased(service, waiting, {})
        assert [event.reason for event in events] == ["erased"]
    finally:
        engine.close()
