"""The PostgreSQL store with 10,000, 100,000 and 1,000,000 users, and what follows for 10,000,000.

    python -m benchmarks.postgres                 # needs 15 GB of free disk for a while
    python -m benchmarks.postgres --users 20000

A server of its own, with its defaults, on this machine: the store's work and the server's share the same cores. Every
user has one release of 2,304 values, the 30M layout. At each size: puts in batches and one at a time, each on the disk
when the call returns; gets of random users by one client, after the server was started again and the page cache told to
forget its files (cold) and once more right after (warm), and by eight clients; erasures; bytes on disk by table.

What 10,000,000 users take is reckoned from the last two sizes: bytes grow by as much a user as between them.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.plots import write_curve
from benchmarks.postgres_server import Server
from benchmarks.store import _from_store, _gets, _item, _name, _rate
from sharedllm.reporting.environment import describe
from sharedllm.store import Store, open_store

RESULT = Path(__file__).parent / "results" / "postgres.json"
PARAMETERS = 2304
BATCH, CLIENTS, SINGLE, ERASURES = 500, 8, 500, 20
MANY = 10_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000, help="users at the largest size (1,000,000)")
    parser.add_argument("--gets", type=int, default=5000, help="random users to fetch at each size (5,000)")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()

    environment = describe()
    chance = np.random.default_rng(0)
    rows = chance.normal(0, 0.01, (64, PARAMETERS)).astype(np.float16)
    sizes: list[dict[str, Any]] = []
    with closing(Server()) as server:
        for users in (options.users // 100, options.users // 10, options.users):
            before = sizes[-1]["users"] if sizes else 0
            asked = [int(user) for user in chance.integers(0, users, min(options.gets, users))]
            sizes.append(measure(server, rows, before, users, asked))
            print(json.dumps({**sizes[-1], "get": {state: each["p99_us"] for state, each in sizes[-1]["get"].items()}}))
        version = server.run("SHOW server_version")[0][0]
    result = {
        "environment": environment,
        "postgresql": version,
        "parameters": PARAMETERS,
        "batch": BATCH,
        "summary": {"ten_million": _reckon(sizes[-2], sizes[-1])},
        "sizes": sizes,
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    warm = [size["get"]["warm"] for size in sizes]
    write_curve(
        options.output.with_suffix(".svg"),
        "To get an adapter from PostgreSQL",
        {name: [[each[key]] for each in warm] for name, key in {"median": "p50_us", "99 of 100": "p99_us"}.items()},
        places=[f"{size['users']:,}" for size in sizes],
        across="users in the store",
        up="microseconds",
    )
    print(json.dumps(result["summary"], indent=2))


def measure(server: Server, rows: npt.NDArray[np.float16], before: int, users: int, asked: list[int]) -> dict[str, Any]:
    """Grow the store to so many users, and measure it there."""
    with open_store(server.address()) as store:
        began = perf_counter()
        for start in track(range(before, users, BATCH), f"{users:,} users: put"):
            store.publish_many(_item(rows, user) for user in range(start, min(start + BATCH, users)))
        put = (users - before) / (perf_counter() - began)
    tables = server.run(
        "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    # So that it has nothing in its own memory.
    server.stop("fast")
    server.start()
    with open_store(server.address()) as store:
        files = (path for path in server.folder.rglob("base/*/*") if path.is_file())
        gets = _gets(lambda user: _from_store(store, user), asked, files, f"{users:,} users: get")
        together = _together(store, asked)
        # Beyond everybody, so that the next size finds its own users missing; gone again before it.
        beyond = range(10 * MANY, 10 * MANY + SINGLE)
        single = _rate(lambda user: store.publish(*_item(rows, user)), beyond, "put one at a time")
        erased = _rate(lambda user: store.erase(_name(user)), beyond[:ERASURES], "erase")
        for user in beyond[ERASURES:]:
            store.erase(_name(user))
    return {
        "users": users,
        "put_per_second": round(put, 1),
        "put_one_at_a_time_per_second": round(single, 1),
        "erase_seconds": round(1 / erased, 4),
        "get_by_eight_per_second": round(together, 1),
        "get": gets,
        "table_bytes": {name: size for name, size, _ in tables},
        "index_bytes": {name: size for name, _, size in tables},
    }


def _together(store: Store, asked: list[int]) -> float:
    """Gets a second by several clients at once."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        began = perf_counter()
        for _ in clients.map(lambda user: _from_store(store, user), asked):
            pass
        return len(asked) / (perf_counter() - began)


def _reckon(smaller: dict[str, Any], larger: dict[str, Any]) -> dict[str, float]:
    grown = larger["users"] - smaller["users"]
    found: dict[str, float] = {"users": MANY}
    for kind in ("table_bytes", "index_bytes"):
        less, more = (sum(size[kind].values()) for size in (smaller, larger))
        found[f"{kind}_a_user"] = (more - less) / grown
        found[kind] = round(more + found[f"{kind}_a_user"] * (MANY - larger["users"]))
    found["hours_to_put"] = MANY / larger["put_per_second"] / 3600
    return found


if __name__ == "__main__":
    main()
