"""Whether a server at saturation keeps its memory, and its word: ten minutes of everything that clients do.

    python -m benchmarks.soak                 # 600 s
    python -m benchmarks.soak --seconds 30

A real `sharedllm serve` on the real base; this process is its clients: 32 users, three requests of each at any time,
more than run at once. Prompts and answers differ in length; some are streamed, some are cancelled half-way, some draw,
some ask for scores or the glass box. Meanwhile new releases are published, and users are erased and come back with
another key. Whoever asks while they are being erased is refused; no other error is expected. What the server answered
with 5xx is counted on its own side too, as nobody reads what a cancelled request is answered.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from benchmarks.serving_contenders import fill, made_rows
from benchmarks.serving_http import Server, server, store_in
from sharedllm.reporting.environment import describe

RESULT = Path(__file__).parent / "results" / "soak.json"
USERS, AT_ONCE = 32, 3
SAMPLE_SECONDS, PUBLISH_SECONDS, ERASE_SECONDS = 5.0, 2.0, 20.0
PATIENCE = 300.0
EXPECTED = {"401 unknown_key", "404 unknown_user", "410 erased", "stream: erased"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    seconds: float = parser.parse_args().seconds
    environment = describe()
    with tempfile.TemporaryDirectory() as folder:
        load = Load(Path(folder))
        with server(Path(folder)) as serving:
            asyncio.run(load.run(serving, seconds))
    result = {"environment": environment, "seconds": seconds, "summary": load.summary(), "runs": load.raw()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


class Load:
    """Everybody who asks, and what came of it."""

    def __init__(self, folder: Path) -> None:
        """Fill the store in ``folder``: a release and a key for each user, and a service key."""
        from sharedllm.adapters.layouts import layout_of
        from sharedllm.base.loading import load_base
        from sharedllm.base.resolve import BARE_BASE
        from sharedllm.store import open_keys
        from sharedllm.text.samples import sample_text

        base = load_base(BARE_BASE)
        self._store = store_in(folder)
        self._model, self._base = base.name, base.fingerprint
        self._width = layout_of(base).size
        self._text = base.encode(sample_text("general")[:200_000])
        fill(self._store, base, made_rows(self._width, USERS))
        with open_keys(self._store) as keys:
            self._keys = {f"user {user}": keys.create(user=f"user {user}")[0] for user in range(USERS)}
            self._service = keys.create(user=None)[0]
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.samples: list[tuple[float, float, int]] = []
        self.metrics: dict[str, float] = {}

    async def run(self, serving: Server, seconds: float) -> None:
        """Ask for so long. An error that is no answer of the server, but a mistake here, ends it at once."""
        async with httpx.AsyncClient(
            base_url=serving.address, timeout=PATIENCE, limits=httpx.Limits(max_connections=None)
        ) as client:
            work = [self._ask_on(client, user, seed) for user in self._keys for seed in range(AT_ONCE)]
            work += [self._publish_on(), self._erase_on(client), self._sample_on(serving.pid)]
            tasks = [asyncio.create_task(each) for each in work]
            ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in ended:
                task.result()
            lines = (await client.get("/metrics")).text.splitlines()
        values = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        self.metrics = {name: float(value) for name, _, value in values if "_created" not in name}

    def summary(self) -> dict[str, Any]:
        """The claim: the median memory of the last quarter of the time against that of the first."""
        sizes = [mib for _, mib, _ in self.samples]
        quarter = max(1, len(sizes) // 4)
        first, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
        return {
            "rss_mib_first_quarter": first,
            "rss_mib_last_quarter": last,
            "growth_percent": 100 * (last / first - 1),
            "requests_done": self.done.total(),
            "errors": dict(self.errors),
            "unexpected_errors": sum(count for kind, count in self.errors.items() if kind not in EXPECTED),
            "server_errors": sum(count for name, count in self.metrics.items() if 'status="5' in name),
        }

    def raw(self) -> dict[str, Any]:
        """Everything that was counted."""
        return {
            "done": dict(self.done),
            "samples": {"columns": ["seconds", "rss_mib", "requests_done"], "rows": self.samples},
            "metrics_at_the_end": self.metrics,
        }

    async def _ask_on(self, client: httpx.AsyncClient, user: str, seed: int) -> None:
        chance = random.Random(f"{user} {seed}")
        while True:
            kind = chance.choice(("whole", "stream", "cancelled whole", "cancelled stream"))
            body = self._body(chance) | {"stream": kind.endswith("stream")}
            # Long enough for some of them to be running by then, and not only waiting.
            patience = chance.uniform(0, 10) if kind.startswith("cancelled") else PATIENCE
            headers = {"Authorization": f"Bearer {self._keys[user]}"}
            error = None
            try:
                async with asyncio.timeout(patience):
                    error = await _complete(client, body, headers)
            except TimeoutError:
                error = "no answer in time" if patience == PATIENCE else None
            except httpx.HTTPError as failure:
                error = type(failure).__name__
            if error is None:
                self.done[kind] += 1
            else:
                self.errors[error] += 1
                # A user who is being erased is refused at once, and would ask in a tight loop.
                await asyncio.sleep(0.1)

    def _body(self, chance: random.Random) -> dict[str, Any]:
        begin = chance.randrange(len(self._text) - 256)
        return {
            "model": self._model,
            "prompt": self._text[begin : begin + chance.randint(8, 256)],
            "max_tokens": chance.randint(4, 128),
            "temperature": chance.choice((0, 0.8)),
            "n": chance.choice((1, 1, 1, 2)),
            "logprobs": chance.choice((None, None, 5)),
            "sharedllm": {"glass_box": chance.random() < 0.1},
        }

    async def _publish_on(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            number += 1
            await asyncio.to_thread(self._publish, f"user {number % USERS}", number)

    async def _erase_on(self, client: httpx.AsyncClient) -> None:
        from sharedllm.store import open_keys

        number = 0
        while True:
            await asyncio.sleep(ERASE_SECONDS)
            number += 1
            user = f"user {7 * number % USERS}"
            headers = {"Authorization": f"Bearer {self._service}"}
            answer = await client.delete(f"/v1/users/{quote(user)}", headers=headers)
            if answer.is_error:
                self.errors[f"erasing: {_error(answer)}"] += 1
            self.done["erased"] += 1
            await asyncio.to_thread(self._publish, user, -number)
            with open_keys(self._store) as keys:
                self._keys[user] = keys.create(user=user)[0]

    def _publish(self, user: str, seed: int) -> None:
        from sharedllm.adapters.adapter import Adapter, GateOutcome
        from sharedllm.store import open_store

        values = 0.1 * np.random.default_rng(abs(seed)).standard_normal(self._width).astype(np.float32)
        with open_store(self._store) as store:
            store.publish(user, Adapter("norm", self._base, values, {}), GateOutcome(True, "made for a benchmark"))
        self.done["published"] += 1

    async def _sample_on(self, pid: int) -> None:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self.samples.append((round(time.monotonic() - begun, 1), _rss_mib(pid), self.done.total()))


async def _complete(client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> str | None:
    """Ask, and read to the end; the error that was answered, if one was."""
    async with client.stream("POST", "/v1/completions", json=body, headers=headers) as response:
        if response.is_error:
            await response.aread()
            return _error(response)
        last = ""
        async for line in response.aiter_lines():
            last = line or last
    if body["stream"] and last != "data: [DONE]":
        return f"stream: {json.loads(last.removeprefix('data: '))['error']['code']}"
    return None


def _error(response: httpx.Response) -> str:
    return f"{response.status_code} {response.json()['error']['code']}"


def _rss_mib(pid: int) -> float:
    """Memory that a process has in use, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit("The server has ended before its time")


if __name__ == "__main__":
    main()
