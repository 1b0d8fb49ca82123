"""The SQLite store against one safetensors file per user: how fast adapters are put away and fetched.

    python -m benchmarks.store                # 100,000 adapters; needs 30 GB of free disk for a while
    python -m benchmarks.store --count 2000

Both contenders get the same users and values in one run. Every put of the store is on the disk when it returns (fsync);
a file is written the way people write it, without that, so files are also timed with it. Gets end in a float32 array on
both sides; the store has verified a checksum by then, the file has not. A cold get comes after the page cache was told
to forget the data, a warm one asks for the same users again.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import track
from safetensors.numpy import load_file, save_file

from sharedllm.adapters.adapter import Adapter, GateOutcome
from sharedllm.reporting.environment import describe
from sharedllm.store import Store, open_store

RESULTS = Path(__file__).parent / "results" / "store.json"
PARAMETERS = 35_136
BATCH = 100
FILES_PER_FOLDER = 1000
GATE = GateOutcome(True, "improves on the base", {"improvement": 1.2, "interval": [1.0, 1.4]})
PROVENANCE = {"recipe": "default", "text_sha256": "0" * 64, "seed": 0, "version": "0.1.0"}


def main() -> None:
    """Measure, print the ratios, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="adapters to store (100,000)")
    parser.add_argument("--gets", type=int, default=5000, help="random users to fetch, cold and warm (5,000)")
    parser.add_argument("--folder", type=Path, help="where the temporary data goes (the system's place for it)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    chance = np.random.default_rng(0)
    # Distinct rows would change nothing: neither side compresses or compares them.
    rows = chance.normal(0, 0.01, (64, PARAMETERS)).astype(np.float16)
    asked = [int(user) for user in chance.integers(0, options.count, min(options.gets, options.count))]
    folder = Path(tempfile.mkdtemp(prefix="sharedllm-store-", dir=options.folder))
    try:
        figures = measure(folder, rows, options.count, asked)
    finally:
        shutil.rmtree(folder)

    result = {
        "schema": 1,
        "environment": describe(),
        "adapters": options.count,
        "parameters": PARAMETERS,
        "batch": BATCH,
        "cache": "cold: dropped with posix_fadvise(DONTNEED) after a sync; warm: the same users again, right after",
        **figures,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    for name in ("store", "files"):
        print(name, json.dumps({key: value for key, value in figures[name].items() if key != "get"}))
        for state, summary in figures[name]["get"].items():
            print(f"  get {state}: p50 {summary['p50_us']} us, p99 {summary['p99_us']} us")
    print(f"written to {options.output}")


def measure(folder: Path, rows: npt.NDArray[np.float16], count: int, asked: Sequence[int]) -> dict[str, Any]:
    """Put ``count`` adapters and get those ``asked`` for, on both sides."""
    few = range(count, count + max(1, count // 100))
    path = folder / "store.db"
    with open_store(path) as store:
        began = perf_counter()
        for start in track(range(0, count, BATCH), "store: put"):
            store.publish_many(_item(rows, user) for user in range(start, min(start + BATCH, count)))
        put = count / (perf_counter() - began)
        single = _rate(lambda user: store.publish(*_item(rows, user)), few, "store: put one at a time")
    written = path.stat().st_size

    files = folder / "files"
    plain = _rate(lambda user: _save(files, rows, user), range(count), "files: put")
    synced = _rate(lambda user: _save(files, rows, user, sync=True), few, "files: put with fsync")

    with open_store(path) as store:
        store_gets = _gets(lambda user: _from_store(store, user), asked, [path], "store: get")
    file_gets = _gets(lambda user: _from_file(files, user), asked, files.rglob("*.safetensors"), "files: get")
    shutil.rmtree(files)

    with open_store(path) as store:
        began = perf_counter()
        store.erase(_name(0))
        erase = perf_counter() - began
    return {
        "store": {
            "put_per_second": round(put, 1),
            "put_one_at_a_time_per_second": round(single, 1),
            "bytes_per_adapter": round(written / (count + len(few))),
            "erase_seconds": round(erase, 3),
            "get": store_gets,
        },
        "files": {
            "put_per_second": round(plain, 1),
            "put_with_fsync_per_second": round(synced, 1),
            "get": file_gets,
        },
        "ratios_store_to_files": {
            "put_rate": round(put / plain, 3),
            "put_rate_against_fsync": round(put / synced, 3),
            **{
                f"get_{state}_{quantile}": round(store_gets[state][quantile] / file_gets[state][quantile], 3)
                for state in ("cold", "warm")
                for quantile in ("p50_us", "p99_us")
            },
        },
    }


def _rate(put: Callable[[int], object], users: Sequence[int], what: str) -> float:
    began = perf_counter()
    for user in track(users, what):
        put(user)
    return len(users) / (perf_counter() - began)


def _gets(get: Callable[[int], object], asked: Sequence[int], paths: Iterable[Path], what: str) -> dict[str, Any]:
    _forget(paths)
    summaries = {}
    for state in ("cold", "warm"):
        times = []
        for user in track(asked, f"{what}, {state}"):
            began = perf_counter()
            get(user)
            times.append(perf_counter() - began)
        microseconds = np.array(times) * 1e6
        summaries[state] = {
            **{
                f"p{quantile}_us": round(float(np.percentile(microseconds, quantile)), 1)
                for quantile in (1, 50, 90, 99)
            },
            "mean_us": round(float(microseconds.mean()), 1),
            "max_us": round(float(microseconds.max()), 1),
            "samples_us": " ".join(str(round(sample)) for sample in microseconds),
        }
    return summaries


def _forget(paths: Iterable[Path]) -> None:
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _item(rows: npt.NDArray[np.float16], user: int) -> tuple[str, Adapter, GateOutcome]:
    values = rows[user % len(rows)].astype(np.float32)
    return _name(user), Adapter("norm", "b" * 64, values, PROVENANCE), GATE


def _name(user: int) -> str:
    return f"user {user:07d}"


def _file(folder: Path, user: int) -> Path:
    return folder / f"{user // FILES_PER_FOLDER:04d}" / f"{user:07d}.safetensors"


def _save(folder: Path, rows: npt.NDArray[np.float16], user: int, *, sync: bool = False) -> None:
    path = _file(folder, user)
    path.parent.mkdir(parents=True, exist_ok=True)
    # From float32, as the store does it: that is what training hands over.
    values = rows[user % len(rows)].astype(np.float32).astype(np.float16)
    save_file({"values": values}, path, metadata={"provenance": json.dumps(PROVENANCE)})
    if sync:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _from_store(store: Store, user: int) -> npt.NDArray[np.float32]:
    return store.served(_name(user)).adapter.values


def _from_file(folder: Path, user: int) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = load_file(_file(folder, user))["values"].astype(np.float32)
    return values


if __name__ == "__main__":
    main()
