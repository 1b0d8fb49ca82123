"""What HTTP costs: clients of a real server process against the same requests handed to an engine.

    python -m benchmarks.serving_http

Three processes: this one is all of the clients, and loads no model; the server is `sharedllm serve` as anyone starts
it; a third holds an engine and no server. The latter two take turns, and whichever is not asked does nothing. Every
client asks one request after the other, for answers of different lengths, so that requests come and go at all times.
There are twice as many clients as requests run at once: with fewer, each place would be empty from an answer's last
token until its client has read it and asked again, and that is the clients' time and not HTTP's. Clients and server
share the machine, so on two cores what the clients need counts against HTTP, little as it is: the overhead measured
here is an upper bound. The engine keeps as little of the shapes of products as the server does, which takes a tenth of
its speed: the price of memory that stays flat, and not of HTTP.

A machine that others share changes by a quarter between two turns of twenty seconds, so turns are short and many, and
whoever came first in a round comes last in the next.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast
from urllib.parse import urlsplit

import numpy as np

from benchmarks.turns import contender, take_orders
from sharedllm.http.free_memory import bound_shapes
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "serving_http.json"
USERS, RUNNING, WARM, ROUNDS, EACH, LENGTHS = 64, 32, 1, 8, 2, (32, 97)


def main() -> None:
    environment, rounds = describe(), measure()
    summary = {
        f"{kind}_overhead": statistics.median(1 - each[kind] / each["engine"] for each in rounds)
        for kind in ("http", "stream")
    }
    RESULT.write_text(json.dumps({"environment": environment, "summary": summary, "rounds": rounds}, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


@dataclass(frozen=True)
class Server:
    """A running server: its ``address`` (``http://host:port``) and process id."""

    address: str
    pid: int


@dataclass(frozen=True)
class Asked:
    """What is asked of ``model``, by user: a prompt as token ids, again and again, with their own API key.

    Attributes:
        lengths: how many new tokens each of a user's requests asks for.
    """

    model: str
    prompts: list[list[int]]
    keys: list[str]
    lengths: list[list[int]]


def measure() -> list[dict[str, float]]:
    """New tokens a second of all clients at once, each of a user of their own, greedy; one value each a round.

    An answer may end before its last token, as nothing in the API forbids it, and on either side only the tokens that
    were made count. ``http`` waits for whole answers and ``stream`` for streams; ``engine`` is the same without HTTP.
    One more round warms up.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contender("benchmarks.serving_http", "--engine-in", folder) as engine,
        ThreadPoolExecutor(USERS) as clients,
    ):
        asked = Asked(**engine("prepare"))
        with server(Path(folder), "--running", str(RUNNING)) as serving:
            turns = {
                "engine": partial(engine, "round"),
                "http": partial(_round, clients, serving.address, asked, stream=False),
                "stream": partial(_round, clients, serving.address, asked, stream=True),
            }
            orders = [list(turns), list(turns)[::-1]]
            rounds = []
            for number in range(WARM + ROUNDS):
                print("round", number + 1, "of", WARM + ROUNDS, "…", file=sys.stderr)
                rounds.append({name: turns[name]() for name in orders[number % 2]})
    return rounds[WARM:]


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    """`sharedllm serve` on the real base and the store in ``folder``, logging there, until the block is left."""
    command = [sys.executable, "-m", "sharedllm", "serve", "--port", "0", "--store", store_in(folder), *options]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            line = cast(IO[str], process.stdout).readline()
            if not line:
                raise SystemExit((folder / "server.log").read_text())
            yield Server(line.partition(" at ")[2].partition("/v1")[0], process.pid)
        finally:
            process.terminate()


def store_in(folder: Path) -> str:
    """The URL of the SQLite store in ``folder``."""
    return f"sqlite:///{folder}/store.db"


def _round(clients: ThreadPoolExecutor, address: str, asked: Asked, *, stream: bool) -> float:
    """Tokens a second of all clients."""
    begun = time.perf_counter()
    counts = clients.map(lambda user: _client(address, asked, user, stream=stream), range(len(asked.keys)))
    return sum(counts) / (time.perf_counter() - begun)


def _client(address: str, asked: Asked, user: int, *, stream: bool) -> int:
    """One user's requests, one after the other; how many tokens were made."""
    body: dict[str, Any] = {"model": asked.model, "prompt": asked.prompts[user], "temperature": 0}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Authorization": f"Bearer {asked.keys[user]}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    made = 0
    for length in asked.lengths[user]:
        connection.request("POST", "/v1/completions", json.dumps(body | {"max_tokens": length}), headers)
        with connection.getresponse() as response:
            told = response.read()
        if response.status != http.client.OK:
            raise SystemExit(told.decode())
        if stream:
            # The last event before "[DONE]" tells the counts.
            told = told.split(b"\n\n")[-3].removeprefix(b"data: ")
        made += json.loads(told)["usage"]["completion_tokens"]
    connection.close()
    return made


def _prepare(folder: Path) -> tuple[Any, list[Any], Asked]:
    """Fill the store in ``folder``; an engine that serves, everybody's release, and what they ask."""
    from benchmarks.serving_contenders import fill, made_prompts, made_rows
    from sharedllm.base.loading import load_base
    from sharedllm.base.resolve import BARE_BASE
    from sharedllm.serving.engine import Engine
    from sharedllm.serving.request import Limits
    from sharedllm.store import open_keys, open_store

    base = load_base(BARE_BASE)
    engine = Engine(base, Limits(running=RUNNING))
    fill(store_in(folder), base, made_rows(engine.layout.size, USERS))
    names = [f"user {user}" for user in range(USERS)]
    with open_store(store_in(folder)) as store, open_keys(store_in(folder)) as keys:
        releases = [store.served(name) for name in names]
        secrets = [keys.create(user=name)[0] for name in names]
    engine.start()
    lengths = np.random.default_rng(2).integers(*LENGTHS, size=(USERS, EACH)).tolist()
    return engine, releases, Asked(base.name, made_prompts(base, USERS), secrets, lengths)


def _through(engine: Any, releases: list[Any], asked: Asked) -> float:
    """Tokens a second of the same requests, handed to the engine itself: a user's next when the last has ended."""
    from sharedllm.serving.request import Finished, Request, RequestEvent, Sampling

    ended: SimpleQueue[Finished] = SimpleQueue()

    def ask(user: int, lengths: Iterator[int]) -> None:
        length = next(lengths, None)
        if length is None:
            return

        def deliver(event: RequestEvent) -> None:
            if isinstance(event, Finished):
                ended.put(event)
                ask(user, lengths)

        release = releases[user]
        request = Request(
            asked.prompts[user],
            release.user,
            release.id,
            release.adapter.values,
            max_tokens=length,
            sampling=Sampling(temperature=0),
            top_logprobs=None,
        )
        engine.submit(request, deliver)

    begun = time.perf_counter()
    for user, lengths in enumerate(asked.lengths):
        ask(user, iter(lengths))
    answers = [ended.get() for lengths in asked.lengths for _ in lengths]
    seconds = time.perf_counter() - begun
    if failed := [answer.error for answer in answers if answer.error]:
        raise SystemExit(failed[0])
    return sum(answer.new_tokens for answer in answers) / seconds


def _take_orders(folder: Path) -> None:
    """The engine's process, within the server's bounds on what is kept of shapes, which cost their time, too."""
    bound_shapes()
    engine, releases, asked = _prepare(folder)
    take_orders({"prepare": lambda: asdict(asked), "round": lambda: _through(engine, releases, asked)})
    engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-in", type=Path, help=argparse.SUPPRESS)
    if folder := parser.parse_args().engine_in:
        _take_orders(folder)
    else:
        main()
