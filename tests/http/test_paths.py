"""An address means one thing: nothing is redirected, two users are never one, and an id may hold anything."""

import asyncio
from itertools import product
from urllib.parse import quote, unquote

import httpx
import pytest
from tests.http.conftest import PASSED

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ODD = (
    "",
    "/",
    "//",
    "%2F",
    "/.",
    "/..",
    "/%2e%2e",
    "%00",
    "%25",
    "%252F",
    "%",
    "%zz",
    "%E9",
    "?",
    "?x=%FF",
    ";a=b",
    "\\",
)
SLASHED = "president/Abraham Lincoln"


def sent(server, method, target, key=None, **headers):
    """The response to a target as it stands; a client library would tidy it up first."""
    path, _, query = target.partition("?")
    named = {"host": "evil.example", **({"authorization": f"Bearer {key}"} if key else {}), **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "client": ("127.0.0.1", 50000),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    told = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        told.append(message)

    asyncio.run(server.app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in told)
    return httpx.Response(told[0]["status"], headers=told[0]["headers"], content=body)


def asked(server, method, target):
    """The response to somebody who may ask for anybody."""
    return sent(server, method, target, server.secrets["service"])


def refused(response):
    assert response.status_code == 400, response.text
    return response.json()["error"]["code"]


@pytest.fixture
def server(serving, published):
    for user in (SLASHED, "caf\u00e9", "k11/adapter", "k11", "a%2Fb"):
        published.store.publish(user, published.adapter(9), PASSED)
    return serving()


def addresses(server):
    templates = [*server.app.openapi()["paths"], "", "/docs", "/v1", "/v1/users"]
    return [template.format(id="nobody", job="0", key="0") for template in templates]


@pytest.mark.slow
def test_no_address_is_ever_redirected_whatever_the_method_and_the_host(server):
    for method, path, odd in product(METHODS, addresses(server), ODD):
        target = path + odd
        response = sent(server, method, target)
        assert not 300 <= response.status_code < 400, (method, target)
        assert response.status_code < 500, (method, target)
        assert "location" not in response.headers


def test_a_slash_after_a_users_address_is_another_address(server, published):
    assert asked(server, "DELETE", "/v1/users/k11/").status_code == 404
    assert asked(server, "DELETE", "/v1/users/k11%2F").json()["error"]["code"] == "unknown_user"
    assert published.store.user("k11").served


@pytest.mark.slow
@pytest.mark.parametrize("user", [SLASHED, "caf\u00e9", "k11/adapter", "k11", "a%2Fb"])
def test_any_id_can_be_asked_about_and_erased_by_its_one_encoding(server, published, user):
    target = f"/v1/users/{quote(user, safe='')}"
    others = {each.user for each in published.store.users()} - {user}
    assert asked(server, "GET", target).json()["user"] == user
    assert asked(server, "DELETE", target).json()["user"] == user
    assert {each.user for each in published.store.users()} == others


def test_the_slash_of_an_id_does_not_make_another_address_of_it(server, published):
    assert asked(server, "GET", "/v1/users/president/Abraham%20Lincoln").status_code == 404
    assert asked(server, "GET", "/v1/users/k11%2Fadapter").json()["user"] == "k11/adapter"
    assert asked(server, "DELETE", "/v1/users/k11/adapter").status_code == 405
    assert asked(server, "GET", "/v1/users/alice%2Fjobs%2F0").json()["error"]["code"] == "unknown_user"


def test_what_need_not_be_escaped_may_be(server):
    assert asked(server, "GET", "/v1/%75sers/k%311").json()["user"] == "k11"


@pytest.mark.parametrize(
    "id", ["caf%E9", "caf%E8", "%FF", "%C0%AF", "%ED%A0%80", "100%", "%zz", "%2", ".", "..", "%2E%2e"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_is_not_utf8_or_a_step_is_refused_by_name(server, published, method, id):
    before = [each.user for each in published.store.users()]
    for target in (f"/v1/users/{id}", f"/v1/users/{id}/jobs/0", f"/v1/models/{id}", f"/nowhere/{id}"):
        assert refused(asked(server, method, target)) == "invalid_address"
    assert [each.user for each in published.store.users()] == before


@pytest.mark.parametrize("id", ["%00", "k11%00", "a" * 1025])
def test_what_cannot_name_a_user_is_refused_by_name(server, id):
    assert refused(asked(server, "DELETE", f"/v1/users/{id}")) == "invalid_user_id"


@pytest.mark.parametrize("query", ["override_reason=caf%E9", "override_reason=%", "%FF=1", "x=%C0%AF"])
def test_a_query_that_is_not_utf8_is_refused_by_name(server, query):
    assert refused(asked(server, "PUT", f"/v1/users/k11/adapter?{query}")) == "invalid_address"


@pytest.mark.parametrize("named", [b"caf\xe9", b"caf\xc3\xa9", b"caf%E9", b"caf%C0%AF", b"100%", b"%zz"])
def test_a_header_that_names_a_user_in_other_bytes_is_refused(server, named):
    headers = {**server.service.headers, "X-SharedLLM-User": named}
    response = server.nobody.post("/v1/completions", json={"model": server.model, "prompt": "a"}, headers=headers)
    assert refused(response) == "invalid_input"


def test_a_header_names_a_user_by_the_encoding_of_their_id(server):
    headers = {"X-SharedLLM-User": quote(SLASHED, safe="")}
    response = server.service.post("/v1/completions", json={"model": server.model, "prompt": "a"}, headers=headers)
    assert response.status_code == 200
    assert server.engine.requests[0].owner == SLASHED
