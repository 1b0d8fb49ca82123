"""`sharedllm try`: somebody's own place, with nothing to set up."""

import re
import socket

import pytest

from sharedllm.cli import try_


@pytest.fixture
def tried(run, folder_of, monkeypatch):
    """Run the command up to where the server would begin; the service, and what was printed and opened."""
    begun, opened = [], []

    def serve(service, host, port, ready):
        begun.append((service, host, port))
        ready(f"http://{host}:12345")
        service.visits.redeem(opened[-1].partition("#code=")[2]) if opened else None
        service.engine.close()

    with socket.socket() as free:
        free.bind((try_.HOST, 0))
        monkeypatch.setattr(try_, "PORT", free.getsockname()[1])
    monkeypatch.setattr("sharedllm.http.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)

    def tried(*options):
        done = run("try", "alice", "--base", folder_of("llama"), *options)
        assert done.code == 0, done.err
        return *begun.pop(), opened, done

    return tried


def test_it_serves_one_user_on_this_machine_alone_and_opens_a_browser_there(tried):
    service, host, port, opened, done = tried()
    assert (host, port) == ("127.0.0.1", try_.PORT)
    assert not service.open
    (address,) = opened
    assert re.fullmatch(r"http://127\.0\.0\.1:12345/#code=[\w-]{43}", address)
    first, again = re.findall(r"http://\S+", done.out)
    assert first == address
    # It was used, and the next address is another.
    assert again != address


@pytest.mark.slow
def test_it_has_the_same_port_each_time_and_says_so_where_that_is_taken(tried):
    *_, done = tried()
    assert "taken" not in done.err
    with socket.create_server((try_.HOST, try_.PORT)):
        _, _, port, _, done = tried()
        assert try_.PORT < port < try_.PORT + 20
        assert f"Port {try_.PORT} is taken, so the page is at port {port}" in done.err


def test_without_a_browser_the_address_is_printed_alone(tried):
    *_, opened, done = tried("--no-browser")
    assert not opened
    assert len(re.findall(r"http://\S+", done.out)) == 1


def test_who_cannot_be_called_so_is_refused_before_anything_is_loaded(run):
    done = run("try", "")
    assert done.code == 2
