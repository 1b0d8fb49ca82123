"""Who asks decides which adapter answers; nobody gets at another's."""

import pytest

from sharedllm.errors import StoreBusy


def ask(client, server, headers=None, **asked):
    return client.post("/v1/completions", json={"model": server.model, "prompt": "hi", **asked}, headers=headers)


def owners(server):
    return [request.owner for request in server.engine.requests]


def code_of(response):
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer sllm_wrong",
        "Basic {alice}",
        "{alice}",
        "Bearer {alice}x",
        "Bearer {alice_cut}",
        "Bearer {alice} {alice}",
        "Bearer é",
    ],
)
def test_without_a_good_key_nothing_is_answered(serving, header):
    server = serving()
    alice = server.secrets["alice"]
    headers = {}
    if header is not None:
        headers["Authorization"] = header.format(alice=alice, alice_cut=alice[:-1]).encode("latin-1")
    response = ask(server.nobody, server, headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "authentication_error"
    assert not server.engine.requests


def test_a_key_in_the_address_or_sent_twice_opens_nothing(serving):
    server = serving()
    alice, bob = server.secrets["alice"], server.secrets["bob"]
    body = {"model": server.model, "prompt": "hi"}
    for query in (f"api_key={alice}", f"access_token={alice}", f"authorization=Bearer%20{alice}"):
        assert server.nobody.post(f"/v1/completions?{query}", json=body).status_code == 401
    twice = [("Authorization", f"Bearer {alice}"), ("Authorization", f"Bearer {bob}")]
    assert server.nobody.post("/v1/completions", json=body, headers=twice).status_code == 401


def test_a_revoked_key_opens_nothing_from_the_next_request_on(serving, published):
    server = serving()
    assert ask(server.alice, server).status_code == 200
    for key in published.keys.all():
        published.keys.revoke(key.id)
    assert code_of(ask(server.alice, server)) == (401, "unknown_key")


def test_who_has_no_key_learns_nothing_about_their_request(serving):
    server = serving()
    assert server.nobody.post("/v1/completions", content=b"{", headers={"content-type": "x"}).status_code == 401


def test_a_users_key_speaks_for_that_user_alone(serving):
    server = serving()
    assert ask(server.alice, server).status_code == 200
    assert ask(server.alice, server, user="alice").status_code == 200
    for other in ("bob", "nobody", "Alice", "alice ", "ａlice"):
        assert code_of(ask(server.alice, server, user=other)) == (403, "forbidden")
    assert code_of(ask(server.alice, server, {"X-SharedLLM-User": "bob"})) == (403, "forbidden")
    assert owners(server) == ["alice", "alice"]


def test_another_user_is_forbidden_whether_they_exist_or_not(serving):
    server = serving()
    answers = {ask(server.alice, server, user=other).text for other in ("bob", "nobody")}
    assert len(answers) == 1


def test_a_service_acts_for_the_user_it_names_and_must_name_one(serving, published):
    server = serving()
    published.store.publish("Zoë/ü 🦊", published.adapter(5), published.store.served("bob").gate)
    assert ask(server.service, server, user="bob").status_code == 200
    assert ask(server.service, server, {"X-SharedLLM-User": "Zo%C3%AB%2F%C3%BC%20%F0%9F%A6%8A"}).status_code == 200
    assert owners(server) == ["bob", "Zoë/ü 🦊"]
    assert code_of(ask(server.service, server)) == (400, "invalid_input")
    assert code_of(ask(server.service, server, user="")) == (400, "invalid_user_id")
    assert code_of(ask(server.service, server, {"X-SharedLLM-User": "alice"}, user="bob")) == (400, "invalid_input")
    assert code_of(ask(server.service, server, {"X-SharedLLM-User": "%ff"})) == (400, "invalid_input")
    assert code_of(ask(server.service, server, user="nobody")) == (404, "unknown_user")


def test_without_authentication_the_user_field_names_the_user(serving):
    server = serving(open=True)
    assert ask(server.nobody, server, user="alice").status_code == 200
    assert owners(server) == ["alice"]
    assert ask(server.nobody, server).status_code == 400


def test_a_store_that_cannot_answer_does_not_let_anybody_in(serving, monkeypatch):
    server = serving()

    def busy(secret):
        raise StoreBusy("/srv/store.db is locked", remedy="Wait.")

    monkeypatch.setattr(server.core.keys, "holder", busy)
    response = ask(server.alice, server)
    assert code_of(response) == (503, "store_busy")
    assert response.headers["retry-after"] == "1"
    assert "/srv" not in response.text
    assert not server.engine.requests
