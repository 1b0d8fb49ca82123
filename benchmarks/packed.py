"""A packed snapshot against the SQLite file that it was packed from: how fast it is made, opened and looked into.

    python -m benchmarks.packed                # 215,000 adapters of the 30M layout; needs 5 GB of free disk for a while
    python -m benchmarks.packed --count 5000

The same users are looked up on both sides in one run, and both verify a checksum and end in a float32 array. A node's
start is a process of its own, from before Python starts to the first adapter it has read, with the log followed; cold
means that the page cache was told to forget the files, but for the index, which whoever opens it has just hashed.
``find`` is the lookup alone, ``served`` all that a request pays: freshness of the log, lookup, checksum, the release
with its provenance.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track

from benchmarks.plots import write_curve
from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.reporting.environment import describe
from sharedllm.store import open_store
from sharedllm.store.evidence.signing import make_key, public_half, read_private, read_public
from sharedllm.store.snapshots import Snapshot, SnapshotStore, forget_erased, pack

RESULTS = Path(__file__).parent / "results" / "packed.json"
PARAMETERS = 2_304
BASE = "b" * 64
BATCH = 500
STARTS = 5
GATE = GateOutcome(True, "improves on the base", {"improvement": 1.2, "interval": [1.0, 1.4]})
PROVENANCE = {"recipe": "default", "text_sha256": "0" * 64, "seed": 0, "version": "0.1.0"}
TARGETS = {"node_start_seconds": 5.0, "lookup_us": 20.0}

_NODE = """
import json, sys
from pathlib import Path
from time import perf_counter
began = perf_counter()
from sharedllm.store import open_store
from sharedllm.store.snapshots import Snapshot, SnapshotStore
from sharedllm.store.evidence.signing import read_public
imported = perf_counter()
snapshot = Snapshot(Path(sys.argv[1]), read_public(Path(sys.argv[2])))
opened = perf_counter()
with SnapshotStore(snapshot, open_store(sys.argv[3])) as store:
    store.served(sys.argv[4])
    served = perf_counter()
    print(json.dumps([imported - began, opened - imported, served - opened]), flush=True)
"""


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=215_000, help="adapters to pack (215,000)")
    parser.add_argument("--gets", type=int, default=5000, help="random users to look up (5,000)")
    parser.add_argument("--folder", type=Path, help="where the temporary data goes (the system's place for it)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="sharedllm-packed-", dir=options.folder))
    try:
        figures = measure(folder, options.count, options.gets)
    finally:
        shutil.rmtree(folder)
    result = {
        "schema": 1,
        "environment": describe(),
        "load_average": os.getloadavg(),
        "adapters": options.count,
        "parameters": PARAMETERS,
        "targets": TARGETS,
        **figures,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    drawn = {"look-up": "find", "adapter from the snapshot": "served", "adapter from SQLite": "sqlite_served"}
    shares = {"1": "p1_us", "50": "p50_us", "90": "p90_us", "99": "p99_us"}
    write_curve(
        options.output.with_suffix(".svg"),
        f"To find one of {options.count:,} users",
        {name: [[figures["get"][what]["warm"][key]] for key in shares.values()] for name, what in drawn.items()},
        places=list(shares),
        across="of 100 take at most",
        up="microseconds",
    )
    for what in ("pack", "node_start", "forget"):
        print(what, json.dumps(figures[what]))
    for what, states in figures["get"].items():
        for state, summary in states.items():
            print(f"{what} {state}: p50 {summary['p50_us']} us, p99 {summary['p99_us']} us")
    print(f"written to {options.output}")


def measure(folder: Path, count: int, gets: int) -> dict[str, Any]:
    """Fill a store, pack it, start nodes on the snapshot, and look users up on both sides."""
    chance = np.random.default_rng(0)
    rows = chance.normal(0, 0.01, (64, PARAMETERS)).astype(np.float32)
    asked = [_name(int(user)) for user in chance.integers(0, count, min(gets, count))]
    absent = [f"nobody {user}" for user in range(len(asked))]
    path, packed, key_file = folder / "store.db", folder / "packed", folder / "key"
    make_key(key_file)
    key, public = read_private(key_file), read_public(public_half(key_file))

    with open_store(path) as store:
        for start in track(range(0, count, BATCH), "filling the store"):
            store.publish_many(_item(rows, user) for user in range(start, min(start + BATCH, count)))
        began = perf_counter()
        report = pack(store, packed, key, base=BASE, format="norm")
        packing = perf_counter() - began
    starts = {state: [_start(packed, key_file, path, cold=state == "cold") for _ in range(STARTS)] for state in _STATES}

    began = perf_counter()
    Snapshot(packed, public).verify()
    verifying = perf_counter() - began
    # Pages that somebody has mapped cannot be forgotten, so the snapshot that is read from is another.
    _forget(packed)
    snapshot = Snapshot(packed, public)
    with SnapshotStore(snapshot, open_store(path)) as node, open_store(path) as live:
        get = {
            "served": _gets(node.served, asked, packed, "served"),
            "find": _gets(snapshot.find, asked, packed, "find"),
            "find_absent": _gets(snapshot.find, absent, packed, "find, absent"),
            "sqlite_served": _gets(live.served, asked, path, "sqlite"),
        }
        live.erase(asked[0])
        began = perf_counter()
        forgotten = forget_erased(live, packed, key)
        forgetting = perf_counter() - began
    return {
        "pack": {
            "seconds": round(packing, 2),
            "adapters_per_second": round(report.users / packing),
            "bytes": report.bytes,
            "bytes_per_adapter": round(report.bytes / report.users, 1),
            "index_bytes": snapshot.manifest.index.bytes,
            "shards": len(snapshot.manifest.shards),
            "store_bytes": path.stat().st_size,
        },
        "node_start": starts,
        "verify_seconds": round(verifying, 2),
        "forget": {"users": forgotten, "seconds": round(forgetting, 3)},
        "get": get,
        "ratios": {
            f"sqlite_to_packed_{state}_{quantile}": round(
                get["sqlite_served"][state][quantile] / get["served"][state][quantile], 2
            )
            for state in _STATES
            for quantile in ("p50_us", "p99_us")
        },
    }


_STATES = ("cold", "warm")


def _start(packed: Path, key_file: Path, store: Path, *, cold: bool) -> dict[str, float]:
    """Seconds until a process of its own has read somebody's adapter, and what it spent them on."""
    if cold:
        _forget(packed)
    command = [sys.executable, "-c", _NODE, packed, public_half(key_file), store, _name(0)]
    began = perf_counter()
    with subprocess.Popen([str(each) for each in command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        total = perf_counter() - began
    imports, opening, first = json.loads(line)
    parts = {"total": total, "imports": imports, "open_and_verify": opening, "follow_and_first_answer": first}
    return {name: round(seconds, 4) for name, seconds in parts.items()}


def _gets(get: Callable[[str], object], users: Sequence[str], path: Path, what: str) -> dict[str, Any]:
    _forget(path)
    summaries = {}
    for state in _STATES:
        times = np.empty(len(users))
        for turn, user in enumerate(track(users, f"{what}, {state}")):
            began = perf_counter()
            get(user)
            times[turn] = perf_counter() - began
        microseconds = times * 1e6
        summaries[state] = {
            **{f"p{share}_us": round(float(np.percentile(microseconds, share)), 2) for share in (1, 50, 90, 99)},
            "mean_us": round(float(microseconds.mean()), 2),
            "max_us": round(float(microseconds.max()), 1),
            "samples_us": " ".join(f"{sample:.1f}" for sample in microseconds),
        }
    return summaries


def _forget(path: Path) -> None:
    os.sync()
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        descriptor = os.open(each, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _item(rows: npt.NDArray[np.float32], user: int) -> tuple[str, Adapter, GateOutcome]:
    return _name(user), Adapter("norm", BASE, rows[user % len(rows)], PROVENANCE), GATE


def _name(user: int) -> str:
    return f"user {user:07d}"


if __name__ == "__main__":
    main()
