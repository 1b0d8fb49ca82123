"""What an operator is told of everybody."""

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.store import open_store

GAINED = GateOutcome(
    True,
    "passed: 12 % better",
    {"own": {"improvement": {"estimate": 0.12, "low": 0.1, "high": 0.14, "confidence": 0.95}}},
)


def told(response):
    assert response.status_code == 200, response.text
    return response.json()


def test_an_operator_sees_everybody_in_pages(serving):
    server = serving()
    first = told(server.service.get("/v1/users?limit=1"))
    second = told(server.service.get(f"/v1/users?limit=1&after={first['next']}"))
    assert [each["user"] for each in (*first["users"], *second["users"])] == ["alice", "bob"]
    assert second["next"] is None


def test_somebody_is_told_with_their_state_release_gain_size_and_last_training(serving, published):
    published.store.publish("alice", published.adapter(3), GAINED)
    published.store.publish("alice", published.adapter(4), GateOutcome(False, "held back: it does not help"))
    published.store.revoke("bob", "moved away")
    alice, bob = told(serving().service.get("/v1/users"))["users"]
    newest = published.store.releases("alice")[-1]
    assert (alice["state"], alice["served"], alice["releases"]) == ("active", 2, 3)
    assert alice["gain"] == {"estimate": 0.12, "low": 0.1, "high": 0.14}
    assert alice["gate"] == {"passed": False, "reason": "held back: it does not help"}
    assert alice["trained_at"] == newest.created_at.isoformat().replace("+00:00", "Z")
    assert alice["bytes"] == 2 * newest.parameters
    assert (bob["state"], bob["reason"], bob["gain"]) == ("revoked", "moved away", None)


def test_somebody_whose_releases_are_damaged_is_listed_all_the_same(serving, published, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("UPDATE releases SET gate = 'x' WHERE user_key = 1")
    alice, bob = told(serving().service.get("/v1/users"))["users"]
    assert (alice["user"], alice["served"], alice["gate"], alice["bytes"]) == ("alice", 1, None, None)
    assert bob["gate"]["passed"]


def test_people_are_looked_for_by_state_and_by_a_part_of_their_name(serving, published):
    odd = "<img src=x onerror=alert(1)>"
    published.store.publish(odd, published.adapter(3), GateOutcome(False, "held back"))
    server = serving()
    ask = lambda **query: [each["user"] for each in told(server.service.get("/v1/users", params=query))["users"]]  # noqa: E731
    assert ask(state="not_served") == [odd]
    assert ask(search="IMG src") == [odd]
    assert ask(search="b", state="active") == ["bob"]
    assert ask(state="revoked") == []


def test_an_operator_has_somebody_served_no_more_and_again(serving, published):
    server = serving()
    bob = told(server.service.post("/v1/users/bob/revoke", json={"reason": "moved away"}))
    assert (bob["state"], bob["reason"]) == ("revoked", "moved away")
    asked = {"model": server.model, "prompt": "hi", "max_tokens": 1}
    assert "moved away" in server.bob.post("/v1/completions", json=asked).json()["error"]["message"]
    assert told(server.service.post("/v1/users/bob/restore"))["state"] == "active"
    assert server.bob.post("/v1/completions", json=asked).status_code == 200
    assert server.service.post("/v1/users/bob/revoke", json={"reason": " "}).status_code == 400
    assert server.service.post("/v1/users/bob/revoke", json={}).json()["error"]["param"] == "reason"
    assert server.service.post("/v1/users/nobody/restore").status_code == 404
    assert published.store.user("bob").state == "active"


def test_what_cannot_be_looked_for_is_refused_by_name(serving):
    server = serving()
    for query, param in (
        ("state=gone", "state"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
        ("search=" + 1025 * "a", "search"),
    ):
        error = server.service.get(f"/v1/users?{query}").json()["error"]
        assert (error["code"], error["param"]) == ("invalid_value", param)
    assert server.service.get("/v1/users?search=%00").json()["error"]["code"] == "invalid_user_id"


def test_among_many_people_a_page_looks_at_a_bounded_part(published, monkeypatch):
    from sharedllm.store.sql import people_rows

    monkeypatch.setattr(people_rows, "LOOKED_AT", 2)
    published.store.publish_many((user, published.adapter(1), GAINED) for user in ("ann", "ben", "cem", "dan", "eva"))
    published.store.revoke("eva", "left")
    for asked, expected in (({"search": "n"}, ["ann", "ben", "dan"]), ({"state": "revoked"}, ["eva"])):
        found, after, pages = [], 0, 0
        while after is not None:
            people = published.store.people(after=after, limit=1, **asked)
            found += [person.summary.user for person in people.page]
            after, pages = people.next, pages + 1
        assert found == expected
        assert pages >= 4


def test_an_encrypted_store_is_searched_a_bounded_part_at_a_time(published, encrypted, monkeypatch):
    from sharedllm.store.sql import people_rows

    monkeypatch.setattr(people_rows, "OPENED", 3)
    with open_store(encrypted) as store:
        adapter, passed = published.adapter(1), GateOutcome(True, "passed")
        store.publish_many((user, adapter, passed) for user in ("ann", "ben", "cem", "dan", "eva", "fen", "gus"))
        found, after, pages = [], 0, 0
        while after is not None:
            people = store.people(search="EN", after=after)
            found += [person.summary.user for person in people.page]
            after, pages = people.next, pages + 1
    assert (found, pages) == (["ben", "fen"], 3)
