"""A page that is opened from a terminal: a code that is good once, for a key of one user."""

import json
import os
import socket
import subprocess
import sys

import httpx
import pytest

from sharedllm.errors import UnknownKey
from sharedllm.http import visits
from sharedllm.http.same_machine import uid_of
from sharedllm.http.visits import Visits

_ASK = """
import json, os, socket, sys
family, host, port, uid, code = json.loads(sys.argv[1])
os.setuid(uid)
body = json.dumps({"code": code}).encode()
head = f"POST /v1/visits HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\nContent-Type: application/json\\r\\n"
asking = socket.socket(family)
asking.connect((host, port))
asking.sendall(head.encode() + f"Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body)
print(asking.makefile().readline())
"""


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


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="it takes root to be somebody else")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_a_code_that_another_user_of_the_machine_has_read_among_a_browsers_arguments_gives_them_nothing(
    listening, monkeypatch, family, host
):
    visits = Visits("alice")
    address, *_ = listening(visits=visits)
    port = int(address.rpartition(":")[2])
    code = visits.code()
    monkeypatch.setattr(os, "getuid", lambda: 1234)

    def status(uid):
        order = json.dumps([int(family), host, port, uid, code])
        done = subprocess.run([sys.executable, "-c", _ASK, order], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[1])

    assert status(65534) == 403
    # It was not used up, either.
    assert status(1234) == 201


def test_whose_a_connection_is_is_told_of_those_of_this_machine_and_of_no_others():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        if sys.platform == "linux":
            assert uid_of(client.getsockname(), server.getsockname()) == os.getuid()
        assert uid_of(("127.0.0.1", 1), server.getsockname()) is None
    for host in ("testclient", "::1", ""):
        assert uid_of((host, 50000), ("testserver", 80)) is None


@pytest.mark.slow
def test_a_page_of_another_name_reaches_no_place_that_is_opened_by_a_code(listening):
    address, *_ = listening(visits=Visits("alice"))
    assert httpx.get(f"{address}/", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{address}/").status_code == 200
