"""Workers on the machines of a cluster: all of them fit, and none could be larger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedllm.cluster.workers.placement import Machine, Placement, place
from sharedllm.errors import InvalidInput

MACHINES = st.lists(st.builds(Machine, st.integers(0, 32), st.integers(0, 4)), min_size=1, max_size=5)


def fitting(machines, cores, gpus):
    """How many workers of that size fit, each machine and each of its GPUs packed by itself."""
    rooms = []
    for machine in machines:
        by_cores = machine.cores // cores
        rooms.append(min(by_cores, machine.gpus * int(1 / gpus + 1e-9)) if gpus else by_cores)
    return sum(rooms)


def test_one_machine_is_shared_equally():
    assert place([Machine(8)], 3) == Placement(3, 2, 0.0)
    assert place([Machine(8)]) == Placement(1, 8, 0.0)


def test_a_head_without_cores_holds_nobody():
    cluster = [Machine(0), Machine(8), Machine(8)]
    assert place(cluster) == Placement(2, 8, 0.0)
    assert place(cluster, 3) == Placement(3, 4, 0.0)


def test_machines_of_unequal_size_hold_workers_of_one_size():
    assert place([Machine(16), Machine(4)]) == Placement(2, 8, 0.0)
    assert place([Machine(16), Machine(4)], 5) == Placement(5, 4, 0.0)
    assert place([Machine(16), Machine(4)], 20) == Placement(20, 1, 0.0)


def test_workers_share_gpus_as_a_gpu_can_be_shared():
    # Two shares of two thirds are not on one GPU, and a third of one is on none.
    assert place([Machine(16, 2)], 3) == Placement(3, 5, 0.5)
    assert place([Machine(16, 1)], 3) == Placement(3, 5, 0.3333)
    assert place([Machine(64, 1)], 6).gpus * 6 <= 1


def test_there_is_a_worker_a_gpu_on_the_machines_that_have_them():
    assert place([Machine(0), Machine(32), Machine(8, 2), Machine(16, 4)]) == Placement(6, 4, 1.0)


def test_a_machine_of_few_cores_leaves_its_gpus_to_nobody():
    assert place([Machine(1, 4), Machine(8, 4)]) == Placement(8, 1, 0.5)


@pytest.mark.parametrize(
    ("machines", "workers", "numbers"),
    [
        ([Machine(2)], 3, "3 workers take a core each, and there are 2"),
        ([Machine(0), Machine(2), Machine(1)], 4, "4 workers take a core each, and there are 3"),
        ([Machine(32), Machine(2, 1)], 3, "3 workers take a core each, and there are 2 on machines with a GPU"),
        ([Machine(0)], None, "there are 0"),
    ],
)
def test_more_workers_than_cores_are_refused(machines, workers, numbers):
    with pytest.raises(InvalidInput, match=numbers):
        place(machines, workers)


@given(machines=MACHINES, workers=st.integers(1, 40))
def test_everybody_fits_and_nobody_could_be_larger(machines, workers):
    try:
        placed = place(machines, workers)
    except InvalidInput:
        return
    able = [machine for machine in machines if machine.gpus] if placed.gpus else machines
    assert placed.cores >= 1
    assert fitting(able, placed.cores, placed.gpus) >= workers
    assert fitting(able, placed.cores + 1, placed.gpus) < workers
