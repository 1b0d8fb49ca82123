"""Training in the background: one process at a time, and an end for every job."""

import errno
import os
import signal
import time

import pytest
from tests.cli.conftest import writing

from sharedllm.errors import EngineStopped, InTraining, InvalidInput, QueueFull, TextError, TooLittleText, UnknownJob
from sharedllm.holder import Removed
from sharedllm.http import jobs as jobs_module
from sharedllm.http.jobs import Jobs
from sharedllm.operations.locks import not_in_training
from sharedllm.store import open_store
from sharedllm.text.splits import split_text
from sharedllm.training.checkpoints import Checkpoints, checkpoint_folder
from sharedllm.training.recipes import Recipe

QUICK = Recipe("quick", learning_rate=2e-2, steps=6, window=64, check_every=3)
ENDLESS = Recipe("endless", learning_rate=1e-3, steps=10**6, window=64, check_every=0)

WAITING = """
import json, signal, sys
order = json.loads(sys.stdin.readline())
print(json.dumps({"step": 1}), flush=True)
sys.stdin.read()
"""
"""A training process that takes one step and waits for its end."""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A data folder and a store of the test's own; fetched packages are shared with the user's cache."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def queue(machine, folder_of):
    """The jobs of a server on the small base, as fast as this machine goes."""
    jobs = Jobs(folder_of("llama"), str(machine / "store.db"), share=1.0)
    yield jobs
    jobs.close()


@pytest.fixture
def worker(monkeypatch):
    """Let another program stand in for the training process."""
    popen = jobs_module.subprocess.Popen

    def worker(program):
        def start(command, **options):
            return popen([command[0], "-c", program], **options)

        monkeypatch.setattr(jobs_module.subprocess, "Popen", start)

    return worker


def begun(job):
    """Wait until a job has taken a step."""
    while job.step == 0:
        assert not job.over.wait(0.01), job.error
    return job


@pytest.mark.slow
def test_a_text_becomes_a_release_that_has_been_judged_as_on_the_command_line(queue, machine):
    job = queue.submit("alice", writing("alice"), QUICK)
    assert job.over.wait(120)
    told = queue.find("alice", job.id).as_dict()
    with open_store(machine / "store.db") as store:
        summary, release = store.user("alice"), store.release("alice", 1)
    assert (told["error"], told["release"], told["steps"]) == (None, 1, {"done": 6, "total": 6})
    assert told["gate"] == {"passed": True, "reason": release.gate.reason, "figures": release.gate.figures}
    assert (told["state"], summary.served) == ("done", 1)
    assert release.adapter.provenance["recipe"] == QUICK.as_dict()
    assert release.adapter.provenance["text_sha256"] == split_text(writing("alice")).sha256
    files = [path for path in machine.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if writing("alice")[:40].encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_training_that_takes_too_much_memory_is_a_failed_job_that_says_how_much_there_is(queue):
    queue._memory_bytes = 200 * 1024**2
    job = queue.submit("alice", writing("alice"), QUICK)
    assert job.over.wait(120)
    assert (job.state, job.release) == ("failed", None)
    assert "the 0.2 GiB that it may use here" in job.error


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 11)", "os.abort()", "os._exit(127)"])
def test_one_that_dies_of_it_without_a_word_says_so_all_the_same(queue, worker, death):
    worker(f"import os; {death}")
    job = queue.submit("alice", writing("alice"), QUICK)
    assert job.over.wait(60)
    assert "GiB that it may use here" in job.error


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 15)", "sys.exit(143)"])
def test_one_that_was_asked_to_end_does_not_speak_of_memory(queue, worker, death):
    worker(f"import os, sys; {death}")
    job = queue.submit("alice", writing("alice"), QUICK)
    assert job.over.wait(60)
    assert job.error
    assert "GiB" not in job.error


@pytest.mark.parametrize(
    ("text", "error"),
    [("", TextError), ("short", TooLittleText), ("a\0" * 2_000, TextError), ("é" * 10**6 + "é", TextError)],
)
def test_a_text_that_cannot_be_trained_on_is_refused_at_once(queue, text, error):
    with pytest.raises(error, match="'alice'"):
        queue.submit("alice", text, QUICK)


def test_a_store_that_no_other_process_can_open_is_refused(folder_of):
    with pytest.raises(InvalidInput, match="memory"):
        Jobs(folder_of("llama"), ":memory:").submit("alice", writing("alice"), QUICK)


def test_one_trains_while_the_others_wait_their_turn(queue, worker):
    worker(WAITING)
    first, second, third = (queue.submit(user, writing(user), QUICK) for user in ("alice", "bob", "carol"))
    begun(first)
    assert (second.state, third.state) == ("queued", "queued")
    queue.cancel(first)
    begun(second)
    assert (first.state, second.state, third.state) == ("cancelled", "running", "queued")


def test_a_full_queue_says_when_to_come_back(queue, worker):
    worker(WAITING)
    with pytest.raises(QueueFull) as full:
        for number in range(100):
            queue.submit(f"user {number}", writing("alice"), QUICK)
    assert full.value.retry_after > 0
    assert number == 9


def test_nobody_has_two_jobs_at_once(queue, worker):
    worker(WAITING)
    first = queue.submit("alice", writing("alice"), QUICK)
    with pytest.raises(QueueFull, match="'alice'"):
        queue.submit("alice", writing("other"), QUICK)
    queue.cancel(first)
    assert queue.submit("alice", writing("other"), QUICK).state == "running"


def test_a_job_is_found_by_its_own_user_alone(queue, worker):
    worker(WAITING)
    job = queue.submit("alice", writing("alice"), QUICK)
    assert queue.find("alice", job.id) is job
    for user, id in (("bob", job.id), ("alice", "0" * 32), ("alice", "")):
        with pytest.raises(UnknownJob):
            queue.find(user, id)


def test_one_that_waits_is_cancelled_without_ever_starting(queue, worker):
    worker(WAITING)
    first, second = (queue.submit(user, writing(user), QUICK) for user in ("alice", "bob"))
    queue.cancel(second)
    queue.cancel(first)
    assert (second.state, second.step) == ("cancelled", 0)


def test_a_process_that_does_not_listen_is_killed(queue, worker, monkeypatch):
    monkeypatch.setattr(jobs_module, "_GRACE_SECONDS", 0.1)
    worker("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + WAITING)
    job = begun(queue.submit("alice", writing("alice"), QUICK))
    queue.cancel(job)
    assert job.state == "cancelled"


def test_a_process_that_dies_fails_its_job_with_the_reason_and_the_next_one_starts(queue, worker):
    worker(WAITING)
    first, second = (queue.submit(user, writing(user), QUICK) for user in ("alice", "bob"))
    os.kill(begun(first).process.pid, signal.SIGKILL)
    begun(second)
    assert first.state == "failed"
    assert "SIGKILL" in first.error


def test_a_process_that_dies_before_it_reads_its_job_fails_it(queue, worker):
    worker("raise SystemExit(3)")
    job = queue.submit("alice", writing("alice", 200_000), QUICK)
    assert job.over.wait(30)
    assert job.state == "failed"
    assert "status 3" in job.error


def test_what_a_process_gives_up_with_is_the_jobs_error(queue, worker):
    worker('print(\'{"error": "There is too little text."}\')')
    job = queue.submit("alice", writing("alice"), QUICK)
    assert job.over.wait(30)
    assert (job.state, job.error, job.release) == ("failed", "There is too little text.", None)


@pytest.mark.slow
def test_training_stops_with_its_server_and_leaves_whole_steps_to_go_on_from(queue, machine, base_of):
    job = begun(queue.submit("alice", writing("alice"), ENDLESS))
    # Until then it holds off their erasure, and nobody else's.
    with pytest.raises(InTraining), not_in_training(checkpoint_folder(), "alice"):
        pass
    with not_in_training(checkpoint_folder(), "bob"):
        pass
    # What a server that is killed does to the pipe.
    job.process.stdin.close()
    assert job.over.wait(60)
    assert (job.state, job.release) == ("failed", None)
    checkpoints = Checkpoints(machine / "data" / "sharedllm" / "training", base_of("llama").fingerprint)
    assert checkpoints.load("alice", split_text(writing("alice")).sha256, ENDLESS).step >= job.step
    with open_store(machine / "store.db") as store:
        assert list(store.users()) == []
    with not_in_training(checkpoint_folder(), "alice"):
        pass


def test_a_process_that_cannot_be_started_fails_its_job_and_leaves_room_for_the_next(queue, worker):
    def full(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs_module.subprocess, "Popen", full)
        job = queue.submit("alice", writing("alice"), QUICK)
    assert job.state == "failed"
    assert "Resource temporarily unavailable" in job.error
    worker(WAITING)
    begun(queue.submit("alice", writing("alice"), QUICK))


def test_the_training_process_learns_no_secret_of_the_server(queue, worker, machine, monkeypatch):
    monkeypatch.setenv("SHAREDLLM_JWT_SECRET", "of the server alone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the server alone")
    monkeypatch.setenv("SHAREDLLM_STORE", "postgresql://me:of the server alone@db/people")
    monkeypatch.setenv("PGPASSFILE", "how the store is opened")
    seen = machine / "seen"
    worker(f"import os, sys, pathlib; pathlib.Path({str(seen)!r}).write_text(repr(dict(os.environ)) + repr(sys.argv))")
    assert queue.submit("alice", writing("alice"), QUICK).over.wait(30)
    assert "PATH" in seen.read_text()
    assert "how the store is opened" in seen.read_text()
    assert "of the server alone" not in seen.read_text()
    assert "alice" not in seen.read_text()


def test_the_training_process_is_told_through_the_pipe_which_store_the_server_has(
    folder_of, worker, machine, monkeypatch
):
    monkeypatch.setenv("SHAREDLLM_STORE", "postgresql://me:secret@db/people")
    seen = machine / "seen"
    worker(
        f"import json, sys, pathlib; pathlib.Path({str(seen)!r}).write_text(json.loads(sys.stdin.readline())['store'])"
    )
    jobs = Jobs(folder_of("llama"), None)
    assert jobs.submit("alice", writing("alice"), QUICK).over.wait(30)
    assert seen.read_text() == "postgresql://me:secret@db/people"


def test_time_left_follows_the_pace_so_far(queue, worker, monkeypatch):
    worker("import time\nfor n in (10, 11, 12): print('{\"step\": %d}' % n, flush=True); time.sleep(.05)\n" + WAITING)
    job = queue.submit("alice", writing("alice"), ENDLESS)
    while job.seconds_left is None:
        time.sleep(0.01)
    assert job.seconds_left / (ENDLESS.steps - job.step) > 0.04


def test_someone_who_is_being_erased_has_no_jobs_and_gets_none(queue, worker):
    worker(WAITING)
    hers, his = (queue.submit(user, writing(user), QUICK) for user in ("alice", "bob"))
    with queue.stopping("alice"):
        assert hers.state == "cancelled"
        assert queue.found("alice") == queue.forget("alice") == [Removed("trainings", "server", 1)]
        with pytest.raises(UnknownJob):
            queue.find("alice", hers.id)
        with pytest.raises(InvalidInput, match="being erased"):
            queue.submit("alice", writing("alice"), QUICK)
        assert begun(his).state == "running"
    queue.submit("alice", writing("alice"), QUICK)


def test_a_job_that_waits_ends_when_its_user_is_erased_by_another_process(queue, worker, machine):
    worker(WAITING)
    with open_store(machine / "store.db") as store:
        stays = store.begin(["alice", "bob"])
        running = begun(queue.submit("bob", writing("bob"), QUICK, stays["bob"]))
        waiting = queue.submit("alice", writing("alice"), QUICK, stays["alice"])
        store.erase("alice")
        queue.end_erased(store)
        assert (waiting.state, waiting.text) == ("cancelled", "")
        assert running.state == "running"
        store.erase("bob")
        queue.end_erased(store)
        assert running.state == "cancelled"


@pytest.mark.rare
def test_nor_does_the_process_train_somebody_who_was_erased_while_the_job_waited(queue, machine):
    with open_store(machine / "store.db") as store:
        stay = store.begin(["alice"])["alice"]
        store.erase("alice")
        job = queue.submit("alice", writing("alice"), QUICK, stay)
        assert job.over.wait(120)
        assert (job.state, list(store.users())) == ("failed", [])
        assert "was erased after this had begun" in job.error


def test_closing_ends_everything(queue, worker):
    worker(WAITING)
    first, second = (queue.submit(user, writing(user), QUICK) for user in ("alice", "bob"))
    queue.close()
    queue.close()
    assert (first.state, second.state) == ("cancelled", "cancelled")
    with pytest.raises(EngineStopped):
        queue.submit("carol", writing("carol"), QUICK)


def test_only_so_many_jobs_are_remembered(queue, worker, monkeypatch):
    monkeypatch.setattr(jobs_module, "_REMEMBERED", 2)
    worker("raise SystemExit(3)")
    done = []
    for _ in range(3):
        done.append(queue.submit("alice", writing("alice"), QUICK))
        assert done[-1].over.wait(30)
    with pytest.raises(UnknownJob):
        queue.find("alice", done[0].id)
    assert queue.find("alice", done[2].id) is done[2]
