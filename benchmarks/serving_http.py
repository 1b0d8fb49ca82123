"""What HTTP costs: clients of a real server process against the same prompts handed to an engine.

Three processes: this one is all of the clients, and loads no model; the server is `sharedllm serve` as anyone starts
it; a third holds an engine and no server. The latter two take turns, and whichever is not asked does nothing. Clients
and server share the machine, so on two cores what the clients need counts against HTTP: the overhead measured here is
an upper bound. `benchmarks.serving` runs it.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

import httpx


@dataclass(frozen=True)
class Server:
    """A running server: its ``address`` (``http://host:port``) and process id."""

    address: str
    pid: int


@dataclass(frozen=True)
class Asked:
    """What is asked of ``model``: for each prompt, as token ids, with a user's own API key, at most ``new`` tokens."""

    model: str
    prompts: list[list[int]]
    keys: list[str]
    new: int


def measure(users: int, new: int, repeats: int) -> dict[str, list[float]]:
    """New tokens a second, one value a repeat, of ``users`` greedy requests at once, each of a user of their own.

    An answer may end before ``new`` tokens, as nothing in the API forbids it, and on either side only the tokens that
    were made count. ``http`` waits for whole answers and ``http_stream`` for streams; ``engine`` is the same without
    HTTP. One round of each warms up.
    """
    rates: dict[str, list[float]] = {"http": [], "http_stream": [], "engine": []}
    with tempfile.TemporaryDirectory() as name, _engine(Path(name), users, new) as engine:
        asked = Asked(**json.loads((Path(name) / "asked.json").read_text()))
        with server(Path(name)) as serving:
            for _ in range(repeats + 1):
                rates["engine"].append(engine())
                rates["http"].append(asyncio.run(_round(serving.address, asked, stream=False)))
                rates["http_stream"].append(asyncio.run(_round(serving.address, asked, stream=True)))
    return {name: each[1:] for name, each in rates.items()}


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """`sharedllm serve` on the real base and the store in ``folder``, logging there, until the block is left."""
    command = [sys.executable, "-m", "sharedllm", "serve", "--port", "0", "--store", store_in(folder)]
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


async def _round(address: str, asked: Asked, *, stream: bool) -> float:
    """Tokens a second of all requests at once."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=None) as client:
        begun = time.perf_counter()
        counts = await asyncio.gather(
            *(
                _complete(client, asked, prompt, key, stream=stream)
                for prompt, key in zip(asked.prompts, asked.keys, strict=True)
            )
        )
        return sum(counts) / (time.perf_counter() - begun)


async def _complete(client: httpx.AsyncClient, asked: Asked, prompt: list[int], key: str, *, stream: bool) -> int:
    """Ask one user's completion and read all of it; how many tokens were made."""
    body = {"model": asked.model, "prompt": prompt, "max_tokens": asked.new, "temperature": 0}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Authorization": f"Bearer {key}"}
    async with client.stream("POST", "/v1/completions", json=body, headers=headers) as response:
        if response.is_error:
            raise SystemExit((await response.aread()).decode())
        told = ""
        if not stream:
            told = (await response.aread()).decode()
        else:
            async for line in response.aiter_lines():
                # The last event before "[DONE]" tells the counts.
                if line.startswith("data: {"):
                    told = line.removeprefix("data: ")
    count: int = json.loads(told)["usage"]["completion_tokens"]
    return count


@contextmanager
def _engine(folder: Path, users: int, new: int) -> Iterator[Any]:
    """A process that fills the store in ``folder`` and holds an engine; a call runs one round there."""
    command = [sys.executable, "-m", "benchmarks.serving_http", str(folder), str(users), str(new)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        orders, tells = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

        def told() -> Any:
            line = tells.readline()
            if not line:
                raise SystemExit("The engine's process ended before its time")
            return json.loads(line)

        def round_() -> float:
            orders.write("\n")
            orders.flush()
            return float(told())

        told()
        try:
            yield round_
        finally:
            orders.close()


def _serve_rounds(folder: Path, users: int, new: int) -> None:
    """The engine's process: one round for every line that comes in, its rate as a line that goes out."""
    from benchmarks.serving import _fill, _prompts, _rows
    from sharedllm.base.loading import load_base
    from sharedllm.serving.engine import Engine
    from sharedllm.store import open_keys, open_store

    base = load_base()
    engine = Engine(base)
    _fill(store_in(folder), base, _rows(engine.layout.size, users))
    names = [f"user {user}" for user in range(users)]
    with open_store(store_in(folder)) as store, open_keys(store_in(folder)) as keys:
        releases = [store.served(name) for name in names]
        secrets = [keys.create(user=name)[0] for name in names]
    prompts = _prompts(base, users)
    asked = {"model": base.name, "prompts": prompts, "keys": secrets, "new": new}
    (folder / "asked.json").write_text(json.dumps(asked))
    engine.start()
    print("null", flush=True)
    for _ in sys.stdin:
        print(_through(engine, prompts, releases, new), flush=True)
    engine.close()


def _through(engine: Any, prompts: list[list[int]], releases: list[Any], new: int) -> float:
    """Tokens a second of all requests at once, handed to the engine itself."""
    from sharedllm.serving.request import Event, Finished, Request, Sampling

    ended: SimpleQueue[Finished] = SimpleQueue()

    def deliver(event: Event) -> None:
        if isinstance(event, Finished):
            ended.put(event)

    begun = time.perf_counter()
    for prompt, release in zip(prompts, releases, strict=True):
        greedy = Sampling(temperature=0)
        values = release.adapter.values
        engine.submit(Request(prompt, release.user, release.id, values, max_tokens=new, sampling=greedy), deliver)
    answers = [ended.get() for _ in prompts]
    seconds = time.perf_counter() - begun
    if failed := [answer.error for answer in answers if answer.error]:
        raise SystemExit(failed[0])
    return sum(answer.new_tokens for answer in answers) / seconds


if __name__ == "__main__":
    _serve_rounds(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
