"""Who may ask what concerns everybody: an operator, and nobody else, at every address there is."""

import pytest

from sharedllm.http.operator import TAG

PUBLIC = {
    *("/version", "/health", "/ping", "/healthz", "/readyz", "/metrics", "/openapi.json"),
    # What it takes is itself a secret.
    "/v1/visits",
}
"""What answers whoever asks, and tells nothing of anybody."""


def routes(app):
    """Method, address and tags of all that the description has."""
    return [
        (method.upper(), path, what.get("tags", ()))
        for path, methods in app.openapi()["paths"].items()
        for method, what in methods.items()
    ]


def addressed(path, user="alice"):
    return path.replace("{id}", user).replace("{job}", "0").replace("{key}", "0" * 16)


def operators(app):
    found = [(method, path) for method, path, tags in routes(app) if TAG in tags]
    assert found
    return found


@pytest.mark.slow
def test_no_address_of_an_operator_answers_a_users_own_key_or_no_key(serving):
    server = serving()
    for method, path in operators(server.app):
        for user in ("alice", "bob"):
            address = addressed(path, user)
            refused = server.alice.request(method, address)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "operator_only"), (method, path)
            assert server.nobody.request(method, address).status_code == 401, (method, path)
            wrong = server.nobody.request(method, address, headers={"Authorization": "Bearer sllm_wrong"})
            assert wrong.status_code == 401, (method, path)


@pytest.mark.slow
def test_a_refusal_is_the_same_whoever_is_there(serving):
    server = serving()
    for method, path in operators(server.app):
        assert len({server.alice.request(method, addressed(path, who)).text for who in ("bob", "nobody")}) == 1


def test_an_operators_body_is_not_read_before_it_is_known_who_asks(serving):
    server = serving()
    for method, path in operators(server.app):
        asked = server.alice.request(method, addressed(path), content=b"\xff" * 70_000)
        assert asked.status_code == 403, (method, path)


@pytest.mark.parametrize("user", ["bob", "nobody"])
def test_a_users_key_sees_nobody_else_at_any_address(serving, user):
    server = serving()
    for method, path, _ in routes(server.app):
        if "/users/{id}" in path:
            asked = server.alice.request(method, addressed(path, user))
            assert asked.status_code == 403, (method, path)


def test_every_address_asks_who_it_is_unless_it_is_public(serving):
    server = serving()
    for method, path, _ in routes(server.app):
        if path not in PUBLIC:
            assert server.nobody.request(method, addressed(path)).status_code == 401, (method, path)
