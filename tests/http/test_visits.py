"""A page that is opened from a terminal: a code that is good once, for a key of one user."""

import pytest

from sharedllm.errors import UnknownKey
from sharedllm.http import visits
from sharedllm.http.visits import Visits


def test_a_code_is_good_once_and_its_key_speaks_for_one_user():
    used = []
    visits = Visits("alice", on_redeemed=lambda: used.append(True))
    code = visits.code()
    secret = visits.redeem(code)
    assert (visits.holder(secret).kind, visits.holder(secret).user) == ("user", "alice")
    assert used == [True]
    for nothing in (code, "", "nonsense"):
        with pytest.raises(UnknownKey):
            visits.redeem(nothing)
    with pytest.raises(UnknownKey):
        visits.holder(code)


def test_a_new_code_ends_the_one_before_and_no_key():
    visits = Visits("alice")
    secret = visits.redeem(visits.code())
    first, second = visits.code(), visits.code()
    with pytest.raises(UnknownKey):
        visits.redeem(first)
    assert visits.redeem(second) != secret
    assert visits.holder(secret).user == "alice"


def test_a_key_is_good_for_so_long_and_no_longer(monkeypatch):
    now = 100.0
    monkeypatch.setattr(visits.time, "monotonic", lambda: now)
    given = Visits("alice", seconds=60)
    secret = given.redeem(given.code())
    now = 159.0
    assert given.holder(secret)
    now = 160.0
    with pytest.raises(UnknownKey):
        given.holder(secret)


def test_a_server_with_keys_of_its_own_gives_none_for_codes(serving):
    response = serving().nobody.post("/v1/visits", json={"code": "nonsense"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unknown_key")
