"""`sharedllm serve`: what is checked before anything is loaded, what it says, and that it answers."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sharedllm.base.int8_weights import multiplies_int8
from sharedllm.cli import serve as serve_module
from sharedllm.store import open_keys

SECRET = "0123456789abcdef" * 2


@pytest.fixture
def serving(run, folder_of, monkeypatch):
    """Run the command up to where the server would begin; the service, and what was printed."""
    begun = []

    def serve(service, host, port, ready):
        begun.append(service)
        ready(f"http://{host}:{port}")
        service.engine.close()

    monkeypatch.setattr("sharedllm.http.server.serve", serve)

    def serving(*options):
        done = run("serve", "--base", folder_of("llama"), "--cache-tokens", "1024", "--running", "2", *options)
        assert done.code == 0, done.err
        return begun.pop(), done

    return serving


@pytest.fixture
def unloaded(monkeypatch):
    """Loading a base fails the test: what is wrong must have been said before."""

    def never(*_, **__):
        raise AssertionError("the base was loaded")

    monkeypatch.setattr("sharedllm.base.loading.load_base", never)


@pytest.fixture
def taken():
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_it_listens_to_this_machine_alone(run, unloaded, host):
    done = run("serve", "--insecure-no-auth", "--host", host)
    assert done.code == 2
    assert f"does not listen on '{host}'" in done.err


@pytest.mark.slow
def test_without_keys_it_says_so_on_every_start(serving):
    for _ in range(2):
        service, done = serving("--insecure-no-auth", "--port", 0)
        assert service.open
        assert done.err.startswith("INSECURE: nobody is asked who they are.")


@pytest.mark.parametrize(
    ("given", "bytes_", "together", "seconds"), [(4, 4, 64, 30), (1, 1, 16, 30), (256, 256, 1024, 300)]
)
def test_how_long_a_body_may_be_is_a_setting_and_so_is_what_all_take_together(
    serving, given, bytes_, together, seconds
):
    service, _ = serving("--insecure-no-auth", "--port", 0, "--body-mb", given)
    policy = service.policy
    assert (policy.body_bytes, policy.bodies_bytes, policy.body_seconds) == (bytes_ << 20, together << 20, seconds)


def test_bodies_have_a_bound_and_by_default_it_is_the_policys(serving, run, unloaded):
    from sharedllm.http.service import Policy

    done = run("serve", "--insecure-no-auth", "--body-mb", 257)
    assert done.code == 2 and "257 is not in the range 1<=x<=256" in done.err
    assert (Policy.body_bytes, Policy.bodies_bytes, Policy.body_seconds) == (4 << 20, 64 << 20, 30)


def test_a_port_in_use_is_an_error_that_says_what_to_do(run, unloaded, taken):
    done = run("serve", "--port", taken)
    assert done.code == 2
    assert f"port {taken}: Address already in use. Choose another address with --host and --port" in done.err


def test_an_address_of_another_machine_is_an_error(run, unloaded):
    assert "cannot listen on 192.0.2.1, port 0" in run("serve", "--host", "192.0.2.1", "--port", 0).err


def test_a_store_that_cannot_be_opened_is_an_error(run, unloaded, tmp_path):
    (tmp_path / "notes.txt").write_text("no store" * 1000)
    assert run("serve", "--port", 0, "--store", tmp_path / "notes.txt").code == 2
    assert "mysql://" in run("serve", "--port", 0, "--store", "mysql://here/there").err
    assert "cannot be kept in memory" in run("serve", "--port", 0, "--store", ":memory:").err


@pytest.mark.slow
def test_without_a_key_it_starts_and_says_how_to_make_one(serving, machine):
    _, done = serving("--port", 0)
    assert "sharedllm keys create --user alice" in done.err
    with open_keys(machine.store) as keys:
        _, key = keys.create(user="alice")
        assert "sharedllm keys" not in serving("--port", 0)[1].err
        keys.revoke(key.id)
    assert "sharedllm keys create" in serving("--port", 0)[1].err


@pytest.mark.slow
def test_one_line_says_that_it_is_ready_and_where(serving, machine, notes, run, folder_of):
    run("train", "alice", notes("alice"))
    _, done = serving("--port", 0)
    model = Path(folder_of("llama")).name
    assert done.out == f"Serving {model} at http://127.0.0.1:0/v1 (store {machine.store})\n"


@pytest.mark.slow
def test_limits_and_policy_are_as_asked(serving, machine):
    service, _ = serving("--port", 0, "--fallback", "--waiting", "7", "--table-mb", "3")
    limits = service.engine.limits
    assert (limits.running, limits.waiting, limits.cache_tokens, limits.table_bytes) == (2, 7, 1024, 3 * 1024**2)
    assert service.policy.fallback
    assert not serving("--port", 0)[0].policy.fallback


@pytest.mark.slow
@pytest.mark.skipif(not multiplies_int8("cpu"), reason="this processor does not multiply in int8")
def test_weights_are_held_as_the_operator_chose(serving):
    assert serving("--port", 0)[0].engine.base.weights == "plain"
    assert serving("--port", 0, "--weights", "int8")[0].engine.base.weights == "int8"


@pytest.mark.slow
def test_how_long_it_gives_notice_is_as_asked(serving, machine):
    assert serving()[0].policy.notice_seconds == 5
    assert serving("--notice-seconds", "0.5")[0].policy.notice_seconds == 0.5


@pytest.mark.slow
def test_pages_of_sites_may_use_it_that_are_named(serving, machine):
    assert serving()[0].policy.origins == ()
    named = ("https://one.example", "https://two.example")
    assert serving("--allow-origin", named[0], "--allow-origin", named[1])[0].policy.origins == named


def test_no_page_may_be_anybody_on_a_server_that_asks_nobody(run, unloaded):
    done = run("serve", "--port", 0, "--insecure-no-auth", "--allow-origin", "*")
    assert (done.code, "any page" in done.err) == (2, True)


def test_tokens_of_an_issuer_are_taken_beside_keys(serving, monkeypatch):
    monkeypatch.setenv(serve_module.JWT_SECRET, SECRET)
    service, done = serving("--port", 0, "--jwt-issuer", "https://issuer", "--jwt-audience", "us")
    assert service.jwt is not None
    assert service.keys is not None
    assert "sharedllm keys" not in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--jwt-issuer", "https://issuer"],
        ["--jwt-issuer", "https://issuer", "--jwt-audience", "us", "--jwt-jwks", "no such file"],
        ["--jwt-issuer", "https://issuer", "--jwt-audience", "us"],
        ["--jwt-jwks", "https://issuer/keys"],
    ],
)
def test_tokens_that_could_not_be_checked_are_an_error(run, unloaded, options):
    assert run("serve", "--port", 0, *options).code == 2


def test_a_shared_secret_alone_is_an_error_not_a_server_without_tokens(run, unloaded, monkeypatch):
    monkeypatch.setenv(serve_module.JWT_SECRET, SECRET)
    assert "--jwt-issuer and --jwt-audience" in run("serve", "--port", 0).err
    both = ["--jwt-issuer", "https://issuer", "--jwt-audience", "us"]
    assert "--insecure-no-auth" in run("serve", "--port", 0, "--insecure-no-auth", *both).err


UP_TO_TORCH = """
import os, sys

class Torch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("ONEDNN_PRIMITIVE_CACHE_CAPACITY"), os.environ.get("LRU_CACHE_CAPACITY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Torch())
from sharedllm.cli.main import main
main()
"""
"""Runs the command until torch is imported, and tells what torch would find in the environment."""


@pytest.mark.slow
def test_the_caches_of_torch_are_bounded_before_it_is_imported_unless_they_are_already(machine, folder_of, monkeypatch):
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    command = ["serve", "--port", "0", "--base", folder_of("llama"), "--store", machine.store]
    told = subprocess.run([sys.executable, "-c", UP_TO_TORCH, *command], check=False, capture_output=True, text=True)
    assert told.stdout == "128 7\n", told.stderr


def test_a_base_that_does_not_exist_is_an_error(run):
    assert run("serve", "--port", 0, "--base", "/no/such/base").code == 2


@pytest.mark.slow
def test_it_answers_trains_and_ends_when_it_is_told_to(machine, folder_of):
    with open_keys(machine.store) as keys:
        secret, _ = keys.create(user="alice")
    command = ["serve", "--port", "0", "--base", folder_of("llama"), "--store", machine.store, "--fallback"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sharedllm",
            *command,
            "--cache-tokens",
            "2048",
            "--running",
            "4",
            "--notice-seconds",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        address = line.split(" at ")[1].split()[0]
        with httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
            (model,) = client.get(f"{address}/models").raise_for_status().json()["data"]
            order = {"model": model["id"], "prompt": "hello", "max_tokens": 4}
            answer = client.post(f"{address}/completions", json=order).raise_for_status()
            assert answer.json()["usage"]["completion_tokens"] > 0
            job = client.post(f"{address}/users/alice/train", json={"text": "to learn from " * 1000})
            assert job.status_code == 202
            assert client.delete(f"{address}/users/bob").status_code == 403
            assert client.delete(f"{address}/users/alice").json()["removed"]["jobs"] == 1
            assert client.get(f"{address}/users/alice").status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
