"""A body that is still arriving when its user is erased does not bring them back, whoever sends it."""

import asyncio
import json
import threading
import time

import httpx
import pytest
from tests.http.conftest import PASSED

from sharedllm.adapters.adapter_file import save_adapter
from sharedllm.holder import Holder, Removed
from sharedllm.http.training_job import Job

ORDER = json.dumps({"text": "to learn from " * 1000}).encode()


class Queue(Holder):
    """Takes orders, and trains nobody."""

    holds = "trainings"

    def __init__(self):
        self.orders = []

    def submit(self, user, text, recipe, stay, add):
        self.orders.append(user)
        return Job("0", user, recipe, stay, text=text)

    def found(self, user):
        return [Removed("trainings", "server", self.orders.count(user))]

    def forget(self, user):
        found = self.found(user)
        self.orders = [each for each in self.orders if each != user]
        return found


@pytest.fixture
def server(serving):
    server = serving()
    server.core.jobs = Queue()
    return server


@pytest.fixture
def file(published, tmp_path):
    path = tmp_path / "brought.safetensors"
    save_adapter(published.adapter(5), path)
    return path.read_bytes()


def arriving(server, client, method, path, content, meanwhile):
    """The response to a body of which all but the first byte comes after ``meanwhile``."""

    async def body():
        yield content[:1]
        await asyncio.to_thread(meanwhile)
        yield content[1:]

    async def send():
        headers = dict(getattr(server, client).headers) | {"content-type": "application/json"}
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as slow:
            return await slow.request(method, path, content=body())

    return asyncio.run(send())


def erased(server, user):
    response = server.service.delete(f"/v1/users/{user}")
    assert response.status_code == 200, response.text
    return response.json()


def held(published):
    return [each.user for each in published.store.users()]


@pytest.mark.parametrize("client", ["alice", "service"])
def test_an_adapter_that_arrives_around_its_users_erasure_is_not_stored(server, published, file, client):
    path = "/v1/users/alice/adapter"
    response = arriving(server, client, "PUT", path, file, lambda: erased(server, "alice"))
    assert (response.status_code, response.json()["error"]["code"]) == (410, "erased")
    assert held(published) == ["bob"]


@pytest.mark.parametrize("client", ["alice", "service"])
def test_a_text_that_arrives_around_its_users_erasure_is_not_trained_on(server, client):
    path = "/v1/users/alice/train"
    response = arriving(server, client, "POST", path, ORDER, lambda: erased(server, "alice"))
    assert response.status_code == 410
    assert server.core.jobs.orders == []


def test_nor_is_anything_of_somebody_who_had_nothing_but_a_training(server, published, file):
    assert server.service.post("/v1/users/dora/train", json=json.loads(ORDER)).status_code == 202
    path = "/v1/users/dora/adapter"
    response = arriving(server, "service", "PUT", path, file, lambda: erased(server, "dora"))
    assert response.status_code == 410
    assert held(published) == ["alice", "bob"]


@pytest.mark.parametrize("again", [False, True])
def test_an_erasure_by_another_process_counts_too_even_if_they_are_back_since(server, published, file, again):
    def elsewhere():
        published.store.erase("alice")
        if again:
            published.store.publish("alice", published.adapter(7), PASSED)

    response = arriving(server, "service", "PUT", "/v1/users/alice/adapter", file, elsewhere)
    assert response.status_code == 410
    assert held(published) == ["bob", *(["alice"] if again else [])]
    assert not again or published.store.user("alice").releases == 1


def test_what_is_sent_after_an_erasure_is_stored(server, published, file):
    erased(server, "alice")
    assert server.service.put("/v1/users/alice/adapter", content=file).status_code == 201
    assert held(published) == ["bob", "alice"]


def test_neither_somebody_elses_erasure_nor_ones_own_first_release_is_in_the_way(server, published, file):
    path = "/v1/users/alice/adapter"
    assert arriving(server, "alice", "PUT", path, file, lambda: erased(server, "bob")).status_code == 201

    def first():
        assert server.service.put("/v1/users/dora/adapter", content=file).status_code == 201

    assert arriving(server, "service", "PUT", "/v1/users/dora/adapter", file, first).status_code == 201
    assert published.store.user("dora").releases == 2


def test_an_erasure_waits_for_what_is_being_stored_and_then_finds_it(server, published):
    arrivals = server.core.arrivals
    with arrivals.expecting("alice") as arrival:
        with arrivals.landing(arrival):
            removed = []
            erasing = threading.Thread(target=lambda: removed.append(erased(server, "alice")["removed"]))
            erasing.start()
            while not arrival.void:
                time.sleep(0.01)
            published.store.publish("alice", published.adapter(7), PASSED)
        erasing.join(60)
    assert removed[0]["releases"] == 2
    assert held(published) == ["bob"]
