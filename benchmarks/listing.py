"""A page of a hundred people among 215,000, in SQLite, in PostgreSQL and encrypted: how long an operator waits.

    python -m benchmarks.listing                  # needs 3 GB of free disk for a while
    python -m benchmarks.listing --users 20000

Everybody has a release of 256 values, so that a store of real ones, whose values lie elsewhere in the file, has more
pages between the rows that are read. What is timed is `Store.people` and `Store.headcount`, each many times, warm. One
page of a search looks at so many people and no more; beside it is how many pages a search through everybody takes. An
encrypted store is filled with a twentieth of the people, which takes as long. It goes on where it was ended.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.postgres_server import Server
from benchmarks.store import _item, _name
from sharedllm.reporting.environment import describe
from sharedllm.store import Store, open_keys, open_store
from sharedllm.store.encryption.master_key import write_master_key
from sharedllm.store.encryption.migrate import encrypt_store

RESULT = Path(__file__).parent / "results" / "listing.json"
PARAMETERS, BATCH = 256, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=215_000, help="people in each store (215,000)")
    parser.add_argument("--times", type=int, default=20, help="how often each page is asked for (20)")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()

    result: dict[str, Any] = {
        "schema": 1,
        "environment": describe(),
        "parameters": PARAMETERS,
        "times": options.times,
        "stores": {},
    }
    if options.output.exists():
        result["stores"] = json.loads(options.output.read_text())["stores"]
    for kind, users, opened in (
        ("sqlite", options.users, on_file),
        ("postgresql", options.users, on_server),
        ("encrypted sqlite", options.users // 20, encrypted),
    ):
        if kind not in result["stores"]:
            with opened() as store:
                fill(store, users, kind)
                figures = measure(store, users, options.times)
            result["stores"][kind] = {"users": users, "load_average": round(os.getloadavg()[0], 1), **figures}
            options.output.write_text(json.dumps(result, indent=1) + "\n")
        print(kind, json.dumps(result["stores"][kind]))


@contextmanager
def on_file() -> Iterator[Store]:
    """A store in a file."""
    with tempfile.TemporaryDirectory(prefix="sharedllm-listing-") as folder, open_store(Path(folder) / "s.db") as store:
        yield store


@contextmanager
def on_server() -> Iterator[Store]:
    """A store on a server of its own."""
    with closing(Server()) as server, open_store(server.address()) as store:
        yield store


@contextmanager
def encrypted() -> Iterator[Store]:
    """A store in a file, encrypted with keys of its own."""
    with tempfile.TemporaryDirectory(prefix="sharedllm-listing-") as name:
        folder = Path(name)
        write_master_key(folder / "private" / "master.key")
        os.environ["SHAREDLLM_MASTER_KEY_FILE"] = str(folder / "private" / "master.key")
        os.environ["SHAREDLLM_SIGNING_KEY_FILE"] = str(folder / "private" / "signing-key.pem")
        open_keys(folder / "store.db").close()
        encrypt_store(folder / "store.db", lambda _: None)
        with open_store(folder / "store.db") as store:
            yield store


def fill(store: Store, users: int, kind: str) -> None:
    """Everybody with a release, one in a thousand of them revoked."""
    rows = np.random.default_rng(0).normal(0, 0.01, (64, PARAMETERS)).astype(np.float16)
    for start in track(range(0, users, BATCH), kind):
        store.publish_many(_item(rows, user) for user in range(start, min(start + BATCH, users)))
    for user in range(0, users, 1000):
        store.revoke(_name(user), "for the benchmark")


def measure(store: Store, users: int, times: int) -> dict[str, Any]:
    """Milliseconds, the median and the longest, of each page that an operator may ask for."""
    numbers = [0]
    while (last := store.people(after=numbers[-1]).next) is not None:
        numbers.append(last)
    asked: dict[str, Callable[[], object]] = {
        "first page": store.people,
        "page in the middle": lambda: store.people(after=numbers[len(numbers) // 2]),
        "last page": lambda: store.people(after=numbers[-1]),
        "revoked": lambda: store.people(state="revoked"),
        "not served, which is nobody": lambda: store.people(state="not_served"),
        "search that many match": lambda: store.people(search="7"),
        "search that nobody matches": lambda: store.people(search="nobody"),
        "headcount": store.headcount,
    }
    figures: dict[str, Any] = {"pages": len(numbers)}
    for what, ask in asked.items():
        taken = []
        for _ in range(times):
            began = perf_counter()
            ask()
            taken.append(1000 * (perf_counter() - began))
        figures[what] = {"p50_ms": round(float(np.median(taken)), 1), "max_ms": round(max(taken), 1)}
    pages, after = 0, 0
    while (people := store.people(search="nobody", after=after)).next is not None:
        pages, after = pages + 1, people.next
    return figures | {"pages of a search through everybody": pages + 1}


if __name__ == "__main__":
    main()
