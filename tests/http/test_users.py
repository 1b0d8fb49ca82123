"""What a user has on the server: who may see it, bring to it, train it and end it."""

import json
import threading
import time
from queue import SimpleQueue
from types import SimpleNamespace

import jwt as pyjwt
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from tests.cli.conftest import writing

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.adapters.adapter_file import save_adapter
from sharedllm.adapters.layouts import layout_of
from sharedllm.errors import StoreBusy
from sharedllm.holder import Removed
from sharedllm.http import jobs as jobs_module
from sharedllm.http.app import create_app
from sharedllm.http.jobs import Jobs
from sharedllm.http.jwt import JWT
from sharedllm.http.service import Service
from sharedllm.operations import locks
from sharedllm.operations.locks import in_training
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, Token
from sharedllm.store import open_store
from sharedllm.store.evidence.receipts import read_receipt
from sharedllm.store.evidence.signing import signing_key
from sharedllm.store.opening import open_keys
from sharedllm.store.snapshots import Snapshot, SnapshotStore, pack
from sharedllm.text.splits import split_text
from sharedllm.training.checkpoints import Checkpoints, Progress, checkpoint_folder
from sharedllm.training.recipes import RECIPES, Recipe

PASSED = GateOutcome(True, "passed: it helps")
QUICK = Recipe("default", steps=6, window=64)
WAITING = "import sys; sys.stdin.readline(); print('{\"step\": 1}', flush=True); sys.stdin.read()"
"""A training process that takes one step and waits for its end."""


WHOSE = {"iss": "issuer", "aud": "sharedllm"}
SECRET = 32 * "s"
TOKEN = pyjwt.encode({**WHOSE, "sub": "alice", "exp": 2**40}, SECRET, "HS256")


def tokens_of_alice():
    return JWT(issuer=WHOSE["iss"], audience=WHOSE["aud"], secret=SECRET)


class Stub:
    """An engine that notes whom it was told to stop, and what the store held of them then."""

    def __init__(self, base, store):
        self.base, self.layout = base, layout_of(base)
        self.context, self.limits = 512, Limits()
        self.store, self.stopped = store, []

    def forget(self, user):
        self.stopped.append((user, [each.user for each in self.store.users()]))
        return [Removed("running requests", "server", 2)]


@pytest.fixture
def server(tmp_path, monkeypatch, base_of, folder_of):
    """A server without its engine, with a store of alice's and bob's releases, and a key for each and for a service."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setitem(RECIPES, "default", QUICK)
    popen = jobs_module.subprocess.Popen
    monkeypatch.setattr(
        jobs_module.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", WAITING], **options)
    )
    base = base_of("llama")
    with open_store(tmp_path / "store.db") as store, open_keys(tmp_path / "store.db") as keys:
        engine = Stub(base, store)
        jobs = Jobs(folder_of("llama"), str(tmp_path / "store.db"))
        service = Service(engine, store, keys=keys, jobs=jobs)
        app = create_app(service)
        secrets = {user: keys.create(user=user)[0] for user in ("alice", "bob", "carol")}
        secrets["service"] = keys.create(user=None)[0]
        adapter = adapter_of(base, sources=["/home/operator/notes"])
        for user in ("alice", "bob"):
            store.publish(user, adapter, PASSED)
        clients = {
            user: TestClient(app, headers={"Authorization": f"Bearer {secret}"}) for user, secret in secrets.items()
        }
        yield SimpleNamespace(
            **clients, store=store, engine=engine, jobs=jobs, core=service, service_key=clients["service"], base=base
        )
        jobs.close()


@pytest.fixture
def file_of(tmp_path):
    """An adapter as the bytes of a file."""

    def file_of(adapter):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_adapter(adapter, path)
        return path.read_bytes()

    return file_of


def adapter_of(base, value=0.25, *, fingerprint=None, **provenance):
    values = np.full(layout_of(base).size, value, np.float32)
    return Adapter("norm", fingerprint or base.fingerprint, values, provenance)


def told(response, status):
    """What a response says; it has the status that is expected."""
    assert response.status_code == status, response.text
    return response.json()


EVERYTHING = [
    ("GET", ""),
    ("PUT", "/adapter"),
    ("POST", "/train"),
    ("GET", "/jobs"),
    ("GET", "/jobs/0"),
    ("DELETE", "/jobs/0"),
    ("DELETE", ""),
]


@pytest.mark.parametrize(("method", "address"), EVERYTHING)
def test_nobody_reaches_another_user_nor_learns_whether_they_exist(server, method, address):
    answers = [server.alice.request(method, f"/v1/users/{user}{address}") for user in ("bob", "nobody")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()
    assert server.store.user("bob").served == 1
    assert server.engine.stopped == []


@pytest.mark.parametrize(("method", "address"), EVERYTHING)
def test_nobody_gets_in_without_a_key(server, method, address):
    response = server.alice.request(method, f"/v1/users/alice{address}", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert server.store.user("alice").served == 1


def test_a_user_sees_where_they_stand_and_their_releases(server):
    for client in (server.alice, server.service_key):
        shown = told(client.get("/v1/users/alice"), 200)
        assert (shown["user"], shown["state"], shown["served"]) == ("alice", "active", 1)
        (release,) = shown["releases"]
        assert (release["number"], release["gate"]["reason"]) == (1, "passed: it helps")
        assert release["provenance"] == {}


def test_a_user_whom_the_store_does_not_hold_is_not_found(server):
    assert told(server.carol.get("/v1/users/carol"), 404)["error"]["code"] == "unknown_user"


def test_an_adapter_that_is_brought_along_is_held_back(server, file_of):
    brought = told(server.alice.put("/v1/users/alice/adapter", content=file_of(adapter_of(server.base, 0.5))), 201)
    assert (brought["release"], brought["served"]) == (2, 1)
    assert brought["gate"] == {
        "passed": False,
        "reason": "held back: imported without text to test it on",
        "figures": {},
    }
    assert server.store.release("alice", 2).adapter.provenance == {
        "imported": {"from": "adapter file", "base_verified": True}
    }
    assert server.store.served("alice").adapter.values[0] == 0.25


def test_what_it_says_of_itself_is_kept_apart_and_within_bounds(server, file_of):
    lies = {"recipe": RECIPES["default"].as_dict(), "text_sha256": split_text(writing("alice")).sha256}
    lies |= {"sources": ["/etc/passwd"], "imported": 7}
    told(server.alice.put("/v1/users/alice/adapter", content=file_of(adapter_of(server.base, **lies))), 201)
    provenance = told(server.alice.get("/v1/users/alice"), 200)["releases"][-1]["provenance"]
    assert provenance["imported"] == {"from": "adapter file", "base_verified": True}
    assert provenance["foreign"]["text_sha256"] == lies["text_sha256"]
    told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
    deep = {}
    for _ in range(100):
        deep = {"a": deep}
    for too_much in ({"a": deep}, {"a": "x" * 40_000}):
        content = file_of(adapter_of(server.base, **too_much))
        error = told(server.alice.put("/v1/users/alice/adapter", content=content), 409)["error"]
        assert error["code"] == "corrupt_adapter"
        assert "does not say where it came from" in error["message"]
    assert server.store.user("alice").releases == 2


def test_it_is_served_on_someones_word_which_is_recorded(server, file_of):
    content = file_of(adapter_of(server.base, 0.5))
    reason = {"override_reason": "it was tested at home"}
    brought = told(server.service_key.put("/v1/users/dora/adapter", content=content, params=reason), 201)
    assert (brought["release"], brought["served"]) == (1, 1)
    event = server.store.events("dora")[-1]
    assert (event.kind, event.reason) == ("overridden", "it was tested at home")


@pytest.mark.parametrize("credential", ["key", "token"])
def test_a_users_own_word_serves_nothing_that_was_held_back(server, file_of, credential):
    if credential == "token":
        server.core.jwt = tokens_of_alice()
        server.alice.headers["Authorization"] = f"Bearer {TOKEN}"
    content = file_of(adapter_of(server.base, 0.5))
    for body in (content, b"not one"):
        answer = server.alice.put("/v1/users/alice/adapter", content=body, params={"override_reason": "I like it"})
        error = told(answer, 403)["error"]
        assert (error["code"], error["type"]) == ("operator_only", "permission_error")
        assert "override_reason" in error["message"]
    assert (server.store.user("alice").releases, server.store.user("alice").served) == (1, 1)
    assert [event.kind for event in server.store.events("alice")] == ["published"]


def test_a_revoked_user_does_not_come_back_by_being_erased_with_a_token_that_outlives_it(server):
    server.store.revoke("alice", "abuse")
    server.core.jwt = tokens_of_alice()
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert told(server.alice.delete("/v1/users/alice", headers=token), 403)["error"]["code"] == "operator_only"
    assert server.store.user("alice").state == "revoked"
    told(server.service_key.delete("/v1/users/alice"), 200)


def test_a_revoked_user_erases_themselves_with_a_key_which_goes_too(server):
    server.store.revoke("alice", "abuse")
    told(server.alice.delete("/v1/users/alice"), 200)
    told(server.alice.get("/v1/users/alice"), 401)


def test_a_blank_word_is_none(server, file_of):
    content = file_of(adapter_of(server.base, 0.5))
    told(server.alice.put("/v1/users/alice/adapter", content=content, params={"override_reason": " "}), 400)
    assert server.store.user("alice").releases == 1


def test_what_is_no_adapter_of_this_base_is_refused_and_nothing_is_stored(server, file_of):
    good = file_of(adapter_of(server.base))
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    other_base = file_of(adapter_of(server.base, fingerprint="0" * 64))
    too_small = file_of(Adapter("norm", server.base.fingerprint, np.zeros(3, np.float32)))
    too_large = file_of(Adapter("norm", server.base.fingerprint, np.zeros(10**6, np.float32)))
    refused = {
        "corrupt_adapter": [b"", b"not one", good[:-4], flipped, too_large],
        "wrong_base": [other_base, too_small],
    }
    for code, files in refused.items():
        for content in files:
            assert told(server.alice.put("/v1/users/alice/adapter", content=content), 409)["error"]["code"] == code
    assert server.store.user("alice").releases == 1


@pytest.mark.slow
def test_a_training_is_queued_followed_and_cancelled(server):
    job = told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
    assert (job["user"], job["recipe"], job["steps"]["total"]) == ("alice", "default", 6)
    address = f"/v1/users/alice/jobs/{job['id']}"
    while told(server.service_key.get(address), 200)["steps"]["done"] == 0:
        time.sleep(0.01)
    assert told(server.alice.get(address), 200)["state"] == "running"
    assert told(server.alice.delete(address), 200)["state"] == "cancelled"
    assert told(server.alice.get(address), 200)["state"] == "cancelled"


def test_text_is_added_to_the_release_that_answers_and_to_nothing_else(server):
    order = {"text": writing("alice"), "add": True}
    job = told(server.alice.post("/v1/users/alice/train", json=order), 202)
    assert server.jobs.find("alice", job["id"]).add
    missing = told(server.service_key.post("/v1/users/nobody/train", json=order), 404)
    assert "Train them first" in missing["error"]["message"]
    server.store.revoke("bob", "left")
    told(server.service_key.post("/v1/users/bob/train", json=order), 409)
    assert not server.jobs.of("nobody") and not server.jobs.of("bob")


def test_trainings_are_listed_in_pages_and_only_ones_own(server):
    sent = []
    for _ in range(5):
        job = told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
        told(server.alice.delete(f"/v1/users/alice/jobs/{job['id']}"), 200)
        sent.append(job["id"])
    seen, after = [], {}
    while True:
        page = told(server.alice.get("/v1/users/alice/jobs", params={"limit": 2} | after), 200)
        assert len(page["jobs"]) <= 2
        seen += [job["id"] for job in page["jobs"]]
        if not page["more"]:
            break
        after = {"after": seen[-1]}
    assert seen == sent
    assert told(server.bob.get("/v1/users/bob/jobs"), 200) == {"jobs": [], "more": False}
    told(server.bob.get("/v1/users/bob/jobs", params={"after": sent[0]}), 404)
    told(server.alice.get("/v1/users/alice/jobs", params={"limit": 1000}), 400)


def test_one_user_cannot_see_or_cancel_anothers_job_by_its_id(server):
    job = told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
    for method in ("GET", "DELETE"):
        told(server.bob.request(method, f"/v1/users/bob/jobs/{job['id']}"), 404)
    assert server.jobs.find("alice", job["id"]).state == "running"


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"text": "too short"},
        {"text": 3},
        {"text": "a\0" * 2_000},
        {"text": "a " * 2_000, "recipe": "no such"},
        {"text": "a " * 2_000, "steps": 10},
    ],
)
def test_an_order_that_makes_no_sense_is_refused_at_once(server, order):
    told(server.alice.post("/v1/users/alice/train", json=order), 400)


def test_a_second_training_of_the_same_user_waits_for_the_first(server):
    told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
    response = server.alice.post("/v1/users/alice/train", json={"text": writing("alice")})
    told(response, 429)
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.slow
def test_an_erased_user_is_gone_from_everything_before_the_answer(server, tmp_path):
    told(server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}), 202)
    checkpoints(tmp_path, server.base).save("alice", split_text(writing("old")).sha256, QUICK, progress())
    removed = told(server.alice.delete("/v1/users/alice"), 200)
    receipt = read_receipt(json.dumps(removed.pop("receipt")).encode(), signing_key().public_key())
    assert receipt.is_about("alice")
    assert [(each.what, each.count) for each in receipt.removed if each.where == "server"] == [
        ("trainings", 1),
        ("running requests", 2),
    ]
    assert removed == {
        "user": "alice",
        "removed": {"releases": 1, "events": 1, "keys": 1, "checkpoints": 1, "jobs": 1, "requests": 2},
    }
    # Whoever was stopped was out of the store already, so that nothing could be routed to them afterwards.
    assert server.engine.stopped == [("alice", ["bob"])]
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == ["signing-key.pem"]
    told(server.alice.get("/v1/users/alice"), 401)
    told(server.service_key.get("/v1/users/alice"), 404)
    told(server.bob.get("/v1/users/bob"), 200)


@pytest.mark.slow
def test_someone_with_nothing_but_a_training_can_be_erased(server):
    job = told(server.service_key.post("/v1/users/dora/train", json={"text": writing("dora")}), 202)
    answer = told(server.service_key.delete("/v1/users/dora"), 200)
    assert (answer["removed"]["jobs"], answer["removed"]["releases"]) == (1, 0)
    told(server.service_key.get(f"/v1/users/dora/jobs/{job['id']}"), 404)
    # The answer may have been lost on its way.
    assert told(server.service_key.delete("/v1/users/dora"), 200) == answer
    told(server.service_key.delete("/v1/users/erin"), 404)


def test_an_erasure_that_leaves_traces_in_the_file_says_so_and_stops_the_requests_all_the_same(server, monkeypatch):
    def half(user):
        raise StoreBusy(f"{user!r} is erased, but traces remain", remedy="Open the store again.")

    monkeypatch.setattr(server.store, "erase", half)
    told(server.alice.delete("/v1/users/alice"), 503)
    assert [user for user, _ in server.engine.stopped] == ["alice"]


def test_what_runs_for_someone_of_whom_the_store_knows_nothing_is_stopped_too(server, monkeypatch):
    def away(*_):
        raise StoreBusy("Another process is writing", remedy="Try again.")

    told(server.service_key.delete("/v1/users/erin"), 404)
    monkeypatch.setattr(server.store, "note_erasure", away)
    told(server.alice.delete("/v1/users/alice"), 503)
    assert {user for user, _ in server.engine.stopped} == {"erin", "alice"}


@pytest.mark.slow
def test_an_erasure_whose_receipt_could_not_be_kept_ends_with_it_when_it_is_asked_for_again(server, monkeypatch):
    def busy(*_):
        raise StoreBusy("Another process is writing", remedy="Try again.")

    with monkeypatch.context() as patch:
        patch.setattr(server.store, "keep_receipt", busy)
        told(server.alice.delete("/v1/users/alice"), 503)
    answer = told(server.service_key.delete("/v1/users/alice"), 200)
    assert (answer["removed"]["releases"], answer["removed"]["events"], answer["removed"]["keys"]) == (1, 1, 1)
    assert told(server.service_key.delete("/v1/users/alice"), 200) == answer


def test_nobody_is_erased_while_a_run_beside_the_server_may_train_them(server, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    for trained in ([], ["alice"]):
        with in_training(checkpoint_folder(), *trained):
            error = told(server.alice.delete("/v1/users/alice"), 409)["error"]
        assert error["code"] == "in_training"
        assert str(checkpoint_folder()) not in error["message"]
    assert server.store.served("alice")
    assert server.engine.stopped == []
    told(server.alice.delete("/v1/users/alice"), 200)


def test_the_training_of_one_user_holds_off_nobody_elses_erasure(server, monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.0)
    with in_training(checkpoint_folder(), "alice"):
        told(server.bob.delete("/v1/users/bob"), 200)


@pytest.mark.slow
def test_a_receipt_names_the_snapshot_that_this_server_serves(server, tmp_path):
    pack(server.store, tmp_path / "monday", signing_key(), base=server.base.fingerprint, format="norm")
    server.store.publish("dora", adapter_of(server.base), PASSED)
    store = SnapshotStore(Snapshot(tmp_path / "monday", signing_key().public_key()), server.store)
    server.alice.app.state.service.store = store
    receipt = told(server.alice.delete("/v1/users/alice"), 200)["receipt"]
    assert receipt["derived"] == [
        {"what": "packed snapshot", "where": "monday", "outcome": "still to do: sharedllm fleet forget"}
    ]
    assert read_receipt(json.dumps(receipt).encode(), signing_key().public_key()).is_about("alice")
    # Whoever came after it was packed is not in it.
    assert told(server.service_key.delete("/v1/users/dora"), 200)["receipt"]["derived"] == []
    store.close()


def test_a_server_that_does_not_train_says_so(server):
    server.alice.app.state.service.jobs = None
    assert "does not train" in server.alice.post("/v1/users/alice/train", json={"text": writing("alice")}).text
    told(server.alice.delete("/v1/users/alice"), 200)


def checkpoints(folder, base):
    return Checkpoints(folder / "data" / "sharedllm" / "training", base.fingerprint)


def progress():
    row = torch.zeros(4)
    return Progress(1, row, row, row, row, 1.0, 0, [])


@pytest.mark.slow
def test_a_request_that_runs_is_stopped_by_the_erasure_and_its_row_leaves_the_device(server):
    engine = Engine(server.base, Limits(running=2, cache_tokens=1024, table_bytes=0))
    server.alice.app.state.service.engine = engine
    release = server.store.served("alice")
    events = SimpleQueue()
    engine.start()
    try:
        asked = Request([5, 6, 7], "alice", release.id, release.adapter.values, max_tokens=400, ignore_end=True)
        engine.submit(asked, events.put)
        assert isinstance(events.get(timeout=60), Token)
        assert told(server.alice.delete("/v1/users/alice"), 200)["removed"]["requests"] == 1
        ended = None
        while not events.empty():
            ended = events.get()
        assert isinstance(ended, Finished)
        assert ended.reason == "erased"
        assert release.id not in engine._runner.table
        assert not engine._runner.table.rows.any()
    finally:
        engine.close()


def test_an_erasure_waits_for_a_request_that_is_on_its_way_to_the_engine(server):
    service = server.alice.app.state.service
    with service.admission():
        erasing = threading.Thread(target=lambda: told(server.alice.delete("/v1/users/alice"), 200))
        erasing.start()
        while [user.user for user in server.store.users()] != ["bob"]:
            time.sleep(0.01)
        assert not server.engine.stopped
    erasing.join(60)
    assert server.engine.stopped == [("alice", ["bob"])]
