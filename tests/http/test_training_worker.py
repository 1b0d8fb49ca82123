"""The process that trains for the server keeps to its share of the CPU."""

import errno

import pytest

from sharedllm.http import training_worker
from sharedllm.http.training_worker import _Pace, out_of_memory


class Clock:
    """Time that passes when the test says so, and in sleep."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def monotonic(self):
        return self.wall

    def process_time(self):
        return self.cpu

    def sleep(self, seconds):
        self.wall += seconds

    def work(self, seconds, threads):
        self.wall += seconds
        self.cpu += seconds * threads


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training_worker, "time", clock)
    return clock


@pytest.mark.parametrize(("cores", "threads"), [(0.25, 1), (0.5, 1), (1.5, 1), (4.0, 4)])
def test_no_stretch_of_work_takes_more_than_the_share(clock, cores, threads):
    pace = _Pace(cores)
    for seconds in (5.0, 0.1, 0.7, 0.0, 2.0):
        since, used = clock.wall, clock.cpu
        clock.work(seconds, threads)
        pace()
        assert clock.cpu - used <= cores * (clock.wall - since) + 1e-9


def test_a_share_that_is_not_used_up_costs_no_rest(clock):
    pace = _Pace(2.0)
    clock.work(3.0, 1)
    pace()
    assert clock.wall == 3.0


def test_a_wait_is_not_saved_up(clock):
    pace = _Pace(0.5)
    clock.sleep(100)
    pace()
    clock.work(1.0, 1)
    pace()
    assert clock.wall == pytest.approx(102.0)


def test_it_tells_when_other_work_keeps_it_from_half_of_its_share_and_when_that_is_over(clock):
    told = []
    pace = _Pace(0.5, told.append)
    for seconds, threads in ((12.0, 1), (1000.0, 0.1), (5.0, 0.4), (1000.0, 0.1), (12.0, 1)):
        clock.work(seconds, threads)
        pace()
    assert told == [True, False]


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        # Seen once: an import that could not list a folder.
        (OSError(errno.ENOMEM, "Cannot allocate memory", "torch/fx/passes/infra"), True),
        # A build of torch with CUDA in 200 MB.
        (ImportError("torch/_C.cpython-313-x86_64-linux-gnu.so: failed to map segment from shared object"), True),
        (ImportError("libtorch_cuda.so: cannot map zero-fill pages"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (ValueError("something else"), False),
    ],
)
def test_memory_that_ran_out_is_known_by_what_is_said(error, out):
    assert out_of_memory(error) is out


def test_where_no_room_is_left_any_error_is_for_want_of_it():
    # Seen once: an extension that had no room left to say what was wrong.
    assert out_of_memory(SystemError("error return without exception set"), room_bytes=2**62)
