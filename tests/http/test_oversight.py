"""What an operator looks after: the audit log, trainings, and what is wrong."""

import shutil
from types import SimpleNamespace

import pytest

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.http.headcounts import Headcounts
from sharedllm.http.jobs import Jobs
from sharedllm.http.training_job import Job
from sharedllm.store import open_store
from sharedllm.store.contract import Headcount
from sharedllm.training.recipes import RECIPES


def told(response):
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def sealed(published, encrypted):
    """An encrypted store in which something happened."""
    with open_store(encrypted) as store:
        store.publish("alice", published.adapter(1), GateOutcome(True, "passed"))
        store.revoke("alice", "left")
        store.restore("alice")
        yield store


def test_the_audit_log_comes_in_pages_newest_first_and_names_nobody(serving, published, sealed):
    published.store = sealed
    client = serving().service
    first = told(client.get("/v1/audit?limit=2"))
    assert [entry["kind"] for entry in first["entries"]] == ["restored", "revoked"]
    second = told(client.get(f"/v1/audit?before={first['next']}"))
    assert [entry["kind"] for entry in second["entries"]] == ["published", "encrypted"]
    assert second["next"] is None
    assert "alice" not in str(first) + str(second)


def test_people_are_counted_no_more_often_than_a_twentieth_of_the_time_is_spent_on_it():
    now, counted = [0.0], []

    def count():
        counted.append(now[0])
        now[0] += 3.0
        return Headcount(people=len(counted), revoked=0, not_served=0)

    counts = Headcounts(count, clock=lambda: now[0])
    assert [counts.latest().people for _ in range(5)] == [1] * 5
    now[0] = 62.0
    assert counts.latest().people == 1
    now[0] = 63.0
    assert counts.latest().people == 2
    assert counted == [0.0, 63.0]


def test_a_store_without_an_audit_log_says_so(serving):
    error = serving().service.get("/v1/audit").json()["error"]
    assert "not encrypted" in error["message"]


@pytest.fixture
def jobs(folder_of, tmp_path):
    """A queue in which trainings of several users are over, run and wait."""
    jobs = Jobs(folder_of("llama"), str(tmp_path / "store.db"))
    states = ("done", "failed", "held_back", "queued", "queued")
    for number, (user, state) in enumerate(zip(("alice", "bob", "carol", "alice", "dan"), states, strict=True)):
        job = Job(f"{number:032x}", user, RECIPES["default"], text="private words", state=state)
        if state == "failed":
            job.error = "The training process was stopped by SIGKILL."
        jobs._jobs[job.id] = job
    return jobs


def test_an_operator_sees_everybodys_trainings_with_states_and_reasons(serving, jobs):
    server = serving()
    server.core.jobs = jobs
    everything = told(server.service.get("/v1/jobs"))
    assert [job["user"] for job in everything["jobs"]] == ["dan", "alice", "carol", "bob", "alice"]
    assert everything["counts"] == {"queued": 2, "held_back": 1, "failed": 1, "done": 1}
    (failed,) = told(server.service.get("/v1/jobs?state=failed"))["jobs"]
    assert (failed["user"], failed["error"]) == ("bob", "The training process was stopped by SIGKILL.")
    page = told(server.service.get("/v1/jobs?limit=2&skip=2"))
    assert ([job["user"] for job in page["jobs"]], page["more"]) == (["carol", "bob"], True)
    assert "private words" not in str(everything)


def test_where_all_is_well_nothing_is_found(serving):
    found = told(serving().service.get("/v1/findings"))
    assert found == {"findings": [], "people": {"people": 2, "revoked": 0, "not_served": 0}}


def test_what_is_wrong_is_found_the_worst_first_and_says_what_to_do(serving, published, jobs, tmp_path, monkeypatch):
    published.store.publish("dan", published.adapter(1), GateOutcome(False, "held back"))
    server = serving()
    core, counters = server.core, server.engine.counters
    server.engine.healthy = False
    counters.table_rows = counters.table_room = 10
    counters.table_misses = 5
    counters.cache_tokens, counters.cache_room = 95, 100
    counters.waiting = server.engine.limits.waiting
    core.jobs, core.disks = jobs, {"the store": tmp_path}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, free=10**10))
    found = told(server.service.get("/v1/findings"))["findings"]
    assert [each["code"] for each in found] == [
        *("engine_failed", "trainings_failed", "queue", "table_full", "cache_full", "disk", "not_served")
    ]
    assert all(each["message"] and each["remedy"] for each in found)
    assert not any(str(tmp_path) in str(each) for each in found)


def test_what_charts_are_drawn_of_is_in_the_metrics(serving):
    server = serving()
    server.engine.counters.table_rows, server.engine.counters.table_room = 3, 8
    text = server.nobody.get("/metrics").text
    assert "sharedllm_table_rows 3.0" in text
    assert "sharedllm_table_room 8.0" in text
    assert "sharedllm_cache_tokens " in text
