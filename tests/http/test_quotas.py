"""How often one user may change what there is of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.adapters.adapter import GateOutcome
from sharedllm.adapters.adapter_file import save_adapter
from sharedllm.errors import RateLimited
from sharedllm.operations import quotas
from sharedllm.operations.quotas import ERASURE, Quotas


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@given(
    st.lists(st.tuples(st.floats(0, 600), st.integers(1, ERASURE)), max_size=80),
    st.integers(5, 30),
    st.integers(1, 600),
)
def test_nobody_changes_more_than_a_bucket_and_what_came_back_since(steps, at_once, per_hour):
    clock = Clock()
    limited = Quotas(at_once, per_hour, clock)
    done = 0
    for seconds, changes in steps:
        clock.now += seconds
        try:
            limited.charge("alice", changes)
        except RateLimited as refusal:
            # Whoever comes back when they were told to is let in.
            clock.now += refusal.retry_after + 1e-6
            limited.charge("alice", changes)
        done += changes
        assert done <= at_once + clock.now * per_hour / 3600 + 1e-3


def test_one_user_out_of_changes_is_no_matter_to_another():
    limited = Quotas(5, 60, Clock())
    limited.charge("alice", 5)
    with pytest.raises(RateLimited, match="60 may come in an hour"):
        limited.charge("alice")
    limited.charge("bob", 5)


def test_it_remembers_nobody_who_would_be_full_again_and_nobodys_id(monkeypatch):
    monkeypatch.setattr(quotas, "_TIDY", 10)
    clock = Clock()
    limited = Quotas(5, 3600, clock)
    for number in range(100):
        limited.charge(f"user {number}")
        clock.now += 1
        assert len(limited._buckets) <= 11
    assert "user" not in repr(limited._buckets)


def test_the_smallest_bucket_still_holds_an_erasure():
    Quotas(1, 60, Clock()).charge("alice", ERASURE)


@pytest.fixture
def server(serving, published, tmp_path):
    server = serving(writes=6, writes_per_hour=1)
    save_adapter(published.adapter(5), tmp_path / "file")
    server.content = (tmp_path / "file").read_bytes()
    return server


def told(response):
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (429, "rate_limited", "rate_limit_error")
    return int(response.headers["Retry-After"])


def test_a_loop_of_uploads_ends_with_429_before_the_body_is_read(server):
    upload = lambda client, content: client.put("/v1/users/alice/adapter", content=content)  # noqa: E731
    assert [upload(server.alice, server.content).status_code for _ in range(6)] == 6 * [201]
    assert 0 < told(upload(server.alice, b"not one")) <= 3600
    told(upload(server.service, server.content))
    told(server.alice.post("/v1/users/alice/train", json={"text": "x"}))
    assert server.bob.put("/v1/users/bob/adapter", content=server.content).status_code == 201
    assert server.alice.get("/v1/users/alice").status_code == 200


@pytest.mark.slow
def test_neither_does_a_loop_of_uploads_and_erasures_go_on(server):
    address = "/v1/users/alice"
    outcomes = []
    for _ in range(4):
        outcomes.append(server.service.put(f"{address}/adapter", content=server.content).status_code)
        outcomes.append(server.service.delete(address).status_code)
    assert outcomes[:2] == [201, 200]
    assert set(outcomes[2:]) == {429}


def test_what_is_refused_for_another_user_costs_that_user_nothing(server):
    for _ in range(20):
        assert server.bob.put("/v1/users/alice/adapter", content=b"").status_code == 403
    assert server.alice.put("/v1/users/alice/adapter", content=server.content).status_code == 201


@pytest.mark.slow
def test_releases_are_listed_in_pages(server, published):
    for seed in range(30):
        published.store.publish("alice", published.adapter(seed), GateOutcome(seed == 0, "as it is"))
    kept = [release.number for release in published.store.every_release("alice")][::-1]
    seen, query = [], {"limit": 7}
    while True:
        page = server.alice.get("/v1/users/alice", params=query).json()
        numbers = [release["number"] for release in page["releases"]]
        assert len(numbers) <= 7
        seen = numbers + seen
        if not page["more"]:
            break
        query["before"] = numbers[0]
    assert seen == kept
    for wrong in ({"limit": 0}, {"limit": 1000}, {"before": 0}, {"before": "x"}, {"before": 2**70}):
        assert server.alice.get("/v1/users/alice", params=wrong).status_code == 400
