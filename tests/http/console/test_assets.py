"""The files of the page: what is in them, and under which policy they are served."""

import json
import re

import pytest

from sharedllm.http.console.assets import HEADERS, STATIC, assets

WEIGHT = 300_000
VENDORED = "vendor/"


def test_everything_of_the_page_weighs_less_than_300_kb():
    assert 10_000 < sum(map(len, assets().values())) < WEIGHT


@pytest.mark.slow
def test_every_file_is_served_under_the_policy_and_to_whoever_asks(serving):
    nobody = serving().nobody
    for address in ("/", *(f"/console/{name}" for name in assets())):
        response = nobody.get(address)
        assert response.status_code == 200, address
        assert {name: response.headers[name] for name in HEADERS} == dict(HEADERS)
        again = nobody.get(address, headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["nothing.js", "%2e%2e/assets.py", "..%2fassets.py", "index.html%00", "style.css.j2"])
def test_nothing_else_is(serving, name):
    assert serving().nobody.get(f"/console/{name}").status_code in (400, 404)


def test_no_file_has_script_or_style_inside_markup_or_names_another_host():
    page = assets()["index.html"].decode()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for name, content in assets().items():
        if not name.startswith(VENDORED):
            text = content.decode().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|//[a-z]+\.", text), name
            assert not re.search("innerHTML|outerHTML|insertAdjacent|document.write|eval\\(", text), name


def test_what_is_vendored_has_its_licence_beside_it():
    names = {path.name for path in (STATIC / "vendor").iterdir()}
    licences = (STATIC / "vendor" / "LICENSES.txt").read_text()
    assert all(name in licences for name in names - {"LICENSES.txt"})


def test_whoever_asks_is_told_who_they_are_and_what_there_is(serving):
    server = serving()
    me = server.alice.get("/v1/me").json()
    assert (me["kind"], me["user"], me["model"], me["alone"]) == ("user", "alice", server.model, "base")
    assert server.service.get("/v1/me").json()["user"] is None
    assert server.service.get("/v1/me", headers={"X-SharedLLM-User": "bob"}).json()["user"] == "bob"
    assert server.alice.get("/v1/me", headers={"X-SharedLLM-User": "bob"}).status_code == 403
    assert server.nobody.get("/v1/me").status_code == 401


def test_the_base_answers_without_a_release_if_that_is_asked(serving):
    server = serving()
    asked = {"model": server.model, "prompt": "hi", "max_tokens": 1, "sharedllm": {"base_only": True}}
    response = server.alice.post("/v1/completions", json=asked)
    assert (server.engine.requests[-1].release, server.engine.requests[-1].values) == (None, None)
    assert response.json()["sharedllm"]["route"] == "base"
    assert response.headers["X-SharedLLM-Reason"] == "as_asked"
    # Who has no release may ask it, too, and who was revoked may not.
    assert server.carol.post("/v1/completions", json=asked).status_code == 200
    server.core.store.revoke("alice", "left")
    assert server.alice.post("/v1/completions", json=asked).status_code == 409
    assert "left" in json.dumps(server.alice.post("/v1/completions", json=asked).json())
