"""A fleet whose store is a real server that goes away while it is trained."""

from threading import Timer

import numpy as np
import pytest

from sharedllm.cluster.fleets.run import Result
from sharedllm.store import open_store

from .conftest import USERS

pytestmark = pytest.mark.slow


@pytest.fixture
def away(server):
    """End the server in one of several ways; it is back at once, or while the fleet waits for it."""
    timers = []

    def away(how):
        if how == "disconnected":
            server.disconnect()
            return
        server.crash() if how == "crashed" else server.stop("fast")
        if how == "stopped for a while":
            timers.append(Timer(1.5, server.start))
            timers[-1].start()
        else:
            server.start()

    yield away
    for timer in timers:
        timer.join()


def test_everyone_gets_one_release_from_a_server_that_goes_away_again_and_again(eight, address, away):
    undisturbed = eight.train()
    values = {user: eight.values(user) for user in USERS}
    trouble = {1: "disconnected", 2: "restarted", 4: "crashed", 6: "stopped for a while"}
    results = {}
    with open_store(address) as eight.store:
        for result in eight.start():
            if isinstance(result, Result):
                results[result.user] = result
                if len(results) in trouble:
                    away(trouble[len(results)])
        assert results == undisturbed
        for user in USERS:
            assert [release.number for release in eight.store.releases(user)] == [1]
            np.testing.assert_array_equal(eight.values(user), values[user])
