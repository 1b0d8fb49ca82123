"""What clients are told of errors, and what the operator's log has instead."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
from tests.cli.conftest import writing
from tests.http.conftest import FakeEngine

from sharedllm import errors
from sharedllm.errors import SharedLLMError
from sharedllm.http.jobs import Jobs
from sharedllm.http.logs import JSONLines
from sharedllm.http.public_errors import for_log, is_hidden, public
from sharedllm.training.recipes import Recipe

REMEDY = "Do something else"
PLACES = [
    "/srv/models/base",
    "'/srv/my models/base'",
    "/srv/my models/base/x.safetensors",
    '"~/store.db"',
    "~/store.db",
    "postgresql://user:secret@db.internal:5432/store",
    "file:///srv/store.db",
    "(/srv/store.db)",
    "`/srv/store.db`: Permission denied",
]
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SharedLLMError) and not issubclass(kind, errors.QueueFull)
]


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="sharedllm.http")
    return lambda: [json.loads(JSONLines().format(record)) for record in caplog.records]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_no_error_tells_a_client_where_anything_is(kind, place):
    told = public(kind(f"{place} cannot be used", remedy=f"Look at {place}"))
    assert not [part for part in ("srv", "store.db", "internal", "secret", "models", "base/") if part in told]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_about_the_machine_says_so_and_any_other_says_what_is_wrong(kind):
    told = public(kind("the very reason", remedy=REMEDY))
    assert ("the very reason" in told) is not is_hidden(kind("", remedy=""))
    assert told.count(".") >= 1


@pytest.mark.parametrize(
    "said",
    [
        "The file has 12 bytes and/or more, 3 tokens/s, application/json, </s>, owner/model",
        "'alice/bob' and 1/2",
        "Use sharedllm train --store FILE",
    ],
)
def test_what_is_no_place_is_told_as_it_is(said):
    assert public(errors.InvalidInput(said, remedy=REMEDY)) == f"{said}. {REMEDY}"


@pytest.mark.parametrize("kind", KINDS)
def test_over_http_neither_bodies_nor_headers_tell_a_place(serving, monkeypatch, lines, kind):
    server = serving()

    def fail(*_, **__):
        raise kind("/srv/secret/store.db of 'alice' is damaged", remedy="See postgresql://db.internal/x")

    for method in ("served", "user", "releases"):
        monkeypatch.setattr(server.core.store, method, fail)
    for answer in (
        server.alice.post("/v1/completions", json={"model": server.model, "prompt": "hi", "max_tokens": 1}),
        server.alice.get("/v1/users/alice"),
        server.alice.put("/v1/users/alice/adapter", content=b""),
    ):
        # Whoever was put back to the base is answered by it, and told why.
        assert answer.status_code >= 400 or (answer.status_code == 200 and kind is errors.ResetToBase)
        assert not [part for part in ("srv", "internal") if part in answer.text + str(answer.headers)]
    logged = [line for line in lines() if line["event"] == "error"]
    if is_hidden(kind("", remedy="")):
        assert {line["message"] for line in logged} == {
            "/srv/secret/store.db of '…' is damaged. See postgresql://db.internal/x"
        }
    assert "alice" not in json.dumps(lines())


def test_the_operators_log_has_no_text_of_an_unforeseen_error_but_the_file_of_a_missing_one(tmp_path):
    assert "message" not in for_log(ValueError("a private thought"))
    assert str(tmp_path) in for_log(FileNotFoundError(2, "No such file", str(tmp_path)))["message"]


@pytest.mark.slow
def test_a_job_that_fails_tells_its_user_no_path_and_the_operator_all(tmp_path, monkeypatch, folder_of, lines):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    base = tmp_path / "bases" / "theirs"
    shutil.copytree(folder_of("llama"), base)
    jobs = Jobs(base, str(tmp_path / "store.db"), share=1.0)
    try:
        shutil.rmtree(base)
        job = jobs.submit("alice", writing("alice"), Recipe("quick", steps=2, window=64))
        assert job.over.wait(120)
    finally:
        jobs.close()
    assert job.state == "failed"
    assert "…" in job.error or "log says why" in job.error
    assert str(tmp_path) not in job.error
    (line,) = [line for line in lines() if line["event"] == "training"]
    assert (line["job"], str(base) in line["message"]) == (job.id, True)
    assert "alice" not in json.dumps(line)


@pytest.mark.slow
def test_a_job_whose_store_cannot_be_opened_says_so_without_naming_it(tmp_path, monkeypatch, folder_of, lines):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    jobs = Jobs(folder_of("llama"), "postgresql://nobody@127.0.0.1:1/none", share=1.0)
    try:
        job = jobs.submit("alice", writing("alice"), Recipe("quick", steps=2, window=64))
        assert job.over.wait(120)
    finally:
        jobs.close()
    assert job.state == "failed"
    assert not [part for part in ("127.0.0.1", "nobody", "none") if part in job.error]
    assert [line for line in lines() if line["event"] == "training"]


def test_the_models_name_is_no_path_even_when_its_folder_is_gone(serving, published, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    server = serving(FakeEngine(replace(published.base, name=str(folder))))
    folder.rmdir()
    assert server.alice.get("/v1/models").json()["data"][0]["id"] == "mine"
