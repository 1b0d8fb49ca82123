"""A person's files: looked at and trained on, one or many, and kept nowhere."""

import asyncio
import io
import json
import threading
import zipfile
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest
from tests.http.conftest import FakeEngine
from tests.http.test_jobs import QUICK
from tests.http.test_off_loop import until

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.errors import TextError
from sharedllm.http import inspection_worker, own_files
from sharedllm.http.arrivals import Files
from sharedllm.http.inspection_worker import looked_at
from sharedllm.http.jobs import Jobs
from sharedllm.text.choices import Choices

NOTES = "It was late when she came home, and nobody had lit the lamp in the hall. " * 60
CHAT = "\n".join(
    f"[12.03.24, 20:{minute:02}:00] {who}: {words} {minute}"
    for minute in range(60)
    for who, words in (("Alice M.", "I was thinking about the garden again"), ("Bob", "Were you now, and why"))
)


def archive(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, text in files.items():
            opened.writestr(name.replace("_", "."), text)
    return packed.getvalue()


def choices(**said):
    return {"X-SharedLLM-Choices": quote(json.dumps(said))}


@pytest.mark.slow
def test_one_file_is_looked_at_and_what_is_in_it_told_without_the_text(serving):
    response = serving().alice.post("/v1/users/alice/files/inspect", content=NOTES.encode())
    assert response.status_code == 200, response.text
    found = response.json()
    assert found["learned"] == len(NOTES)
    assert found["documents"][0]["kind"] == "plain text"
    assert found["error"] is None
    assert "lamp in the hall" not in response.text


@pytest.mark.slow
def test_several_come_as_an_archive_and_keep_their_names(serving):
    data = archive(notes_md=NOTES, photo_png=b"\x89PNG\r\n\x1a\n" + bytes(80))
    found = serving().alice.post("/v1/users/alice/files/inspect", content=data).json()
    assert [document["source"] for document in found["documents"]] == ["-/notes.md"]
    assert "photo.png" in found["not_read"][0]["source"]


@pytest.mark.slow
def test_who_is_meant_in_a_chat_is_asked_and_can_be_said(serving):
    server = serving()
    found = server.alice.post("/v1/users/alice/files/inspect", content=archive(chat_txt=CHAT)).json()
    assert set(found["documents"][0]["authors"]) == {"Alice M.", "Bob"}
    assert found["learned"] == 0
    said = choices(me=["Alice M."])
    found = server.alice.post("/v1/users/alice/files/inspect", content=archive(chat_txt=CHAT), headers=said).json()
    assert found["documents"][0]["me"] == "Alice M."
    assert found["learned"] > 2000


@pytest.mark.parametrize("header", ["%7B", "[]", quote('{"me": 3}'), quote('{"hers": true}'), "%ff", "{" * 50])
def test_choices_that_say_nothing_are_refused(serving, header):
    response = serving().alice.post(
        "/v1/users/alice/files/inspect", content=b"x", headers={"X-SharedLLM-Choices": header}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


def test_nobody_looks_at_or_trains_on_anything_for_somebody_else(serving):
    server = serving()
    for address in ("inspect", "train"):
        assert server.bob.post(f"/v1/users/alice/files/{address}", content=b"x").status_code == 403
        assert server.nobody.post(f"/v1/users/alice/files/{address}", content=b"x").status_code == 401
        assert server.alice.post(f"/v1/users/alice/files/{address}", content=b"").status_code == 400


def test_what_takes_too_long_to_read_is_given_up():
    with pytest.raises(TextError, match="longer than 0"):
        looked_at("alice", b"x" * 100, Choices(), seconds=0.01)


def test_the_process_that_looks_at_files_is_given_no_secret(monkeypatch):
    for name in ("SHAREDLLM_STORE", "SHAREDLLM_MASTER_KEY_FILE", "PGPASSWORD", "SOME_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    given = []
    monkeypatch.setattr(
        inspection_worker.subprocess, "run", lambda *_, env, **__: given.append(env) or SimpleNamespace(returncode=1)
    )
    with pytest.raises(TextError):
        looked_at("alice", b"x", Choices())
    assert given[0]["PATH"]
    assert "a secret" not in given[0].values()


def test_one_person_has_one_look_at_a_time_two_are_under_way_in_all_and_too_many_are_refused(serving, monkeypatch):
    server, looking, may = serving(), [], threading.Event()

    def slow(user, data, choices):
        looking.append(user)
        assert may.wait(60)
        return {}

    monkeypatch.setattr(own_files, "looked_at", slow)

    async def run():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:

            def look(user):
                key = {"Authorization": f"Bearer {server.secrets[user]}"}
                path = f"/v1/users/{user}/files/inspect"
                return asyncio.create_task(client.post(path, content=b"x", headers=key))

            flood = [look("alice") for _ in range(8)]
            await until(lambda: sum(each.done() for each in flood) == 5)
            others = [look("bob"), look("carol")]
            await until(lambda: len(looking) == 2)
            assert sorted(looking) in (["alice", "bob"], ["alice", "carol"])
            may.set()
            refused = [each for each in [await each for each in flood] if each.status_code != 200]
            assert [each.status_code for each in [await each for each in others]] == [200, 200]
            return refused

    refused = asyncio.run(run())
    assert [(each.status_code, each.json()["error"]["code"]) for each in refused] == [(429, "queue_full")] * 5
    assert looking.count("alice") == 3


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_files_are_trained_on_in_a_process_of_its_own(tmp_path, monkeypatch, folder_of):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    jobs = Jobs(folder_of("llama"), str(tmp_path / "store.db"), share=1.0)
    try:
        job = jobs.submit("alice", Files(archive(chat_txt=CHAT * 4), Choices(me=("Alice M.",))), QUICK)
        assert job.over.wait(400)
        assert job.release == 1, job.error
        lost = jobs.submit("alice", Files(archive(chat_txt=CHAT), Choices(me=("Carol",))), QUICK)
        assert lost.over.wait(400)
        assert "Carol" in lost.error
    finally:
        jobs.close()


def test_a_server_that_does_not_train_says_so(serving):
    response = serving().alice.post("/v1/users/alice/files/train", content=NOTES.encode())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


def test_a_release_is_gone_back_to_unless_its_gate_held_it_back(serving, published):
    server = serving(FakeEngine(published.base))
    published.store.publish("alice", published.adapter(5), GateOutcome(True, "passed: better"))
    published.store.publish("alice", published.adapter(6), GateOutcome(False, "held back: worse"))
    assert server.alice.post("/v1/users/alice/rollback", json={}).json() == {"user": "alice", "served": 1}
    assert server.alice.post("/v1/users/alice/rollback", json={"to": 2}).json()["served"] == 2
    assert server.alice.post("/v1/users/alice/rollback", json={"to": 3}).status_code == 409
    assert server.alice.post("/v1/users/alice/rollback", json={"to": 9}).status_code == 400
    assert server.bob.post("/v1/users/alice/rollback", json={}).status_code == 403
    assert server.alice.post("/v1/users/alice/reset").json() == {"user": "alice", "served": None, "before": 2}
    assert server.alice.get("/v1/users/alice").json()["served"] is None


def test_a_release_is_taken_along_as_a_file_that_can_be_brought_back(serving, published):
    server = serving()
    file = server.alice.get("/v1/users/alice/adapter")
    assert file.status_code == 200
    assert server.bob.put("/v1/users/bob/adapter", content=file.content).json()["release"] == 2
    assert server.alice.get("/v1/users/alice/adapter?release=7").status_code == 400
    assert server.bob.get("/v1/users/alice/adapter").status_code == 403
    assert server.carol.get("/v1/users/carol/adapter").status_code == 404


def test_everybody_is_told_what_is_held_of_them(serving):
    server = serving()
    held = {each["what"]: each["count"] for each in server.alice.get("/v1/users/alice/held").json()["held"]}
    assert (held["releases"], held["events"], held["API keys"]) == (1, 1, 1)
    nothing = server.carol.get("/v1/users/carol/held").json()["held"]
    assert {each["what"]: each["count"] for each in nothing}["releases"] == 0
    assert server.bob.get("/v1/users/alice/held").status_code == 403


def test_keys_are_counted_to_the_last_however_many_somebody_has(serving, published):
    server = serving()
    published.keys.create_many([("bob", "")] * 100)
    held = server.bob.get("/v1/users/bob/held").json()["held"]
    assert [each["count"] for each in held if each["what"] == "API keys"] == [101]
