"""Who is measured in `benchmarks.serving`: each a process of its own that does what it is told, when it is told.

Every prompt has 64 tokens of general text and gets 64 new ones, greedily. Rates are new tokens a second.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.turns import take_orders
from sharedllm.base.resolve import BARE_BASE

if TYPE_CHECKING:
    from sharedllm.base.loading import Weights

PROMPT, NEW, LONG = 64, 64, 4_000
LONGEST = 1_280
"""Tokens of a request of `benchmarks.serving_peers`, its answer among them."""
GPU_BATCH_TOKENS = 8192
STORED = 2_000

Orders = Mapping[str, Callable[..., Any]]


def _engine(users: int) -> Orders:
    """Our engine: distinct users, or as many requests of the base; ``rate``, and seconds to the ``first`` token.

    And the ``rate`` of users beside one more with a long prompt; and the bytes of the weights that a pass reads.
    """
    from benchmarks.weights_read import bytes_read
    from sharedllm.base.huge_pages import move_to_huge_pages
    from sharedllm.base.loading import load_base
    from sharedllm.serving.cache import places
    from sharedllm.serving.engine import Engine
    from sharedllm.serving.request import Limits

    base = load_base(BARE_BASE)
    weights = bytes_read(base)
    usual = Limits()
    # Room for all of them, and for the long one.
    room = max(usual.cache_tokens, users * places(PROMPT + NEW) + places(LONG + 4 * NEW))
    limits = Limits(
        running=max(usual.running, users),
        waiting=max(usual.waiting, users),
        cache_tokens=room,
        batch_tokens=usual.batch_tokens if base.device.type == "cpu" else GPU_BATCH_TOKENS,
    )
    engine = Engine(base, limits)
    engine.start()
    # As a server does.
    move_to_huge_pages()
    prompts, rows = made_prompts(base, users), made_rows(engine.layout.size, users)
    turns = count()

    def run(users: int, adapted: bool) -> dict[str, float]:
        asked = never_read(prompts[:users], next(turns))
        seconds, first = _ask(engine, asked, rows if adapted else None)
        return {"rate": users * NEW / seconds, "first": first}

    def beside(users: int) -> dict[str, float]:
        begun = threading.Event()
        long = (prompts[0] * LONG)[:LONG]
        # Longer than those beside it, and none of it is theirs to wait for: it has been read when they begin.
        number = engine.submit(_asked(long, users, rows, 4 * NEW), lambda _: begun.set())
        begun.wait()
        found = run(users, True)
        engine.cancel(number)
        return found

    return {"run": run, "beside": beside, "weights": lambda: weights}


def _loads(users: int, weights: "Weights" = "plain") -> Orders:
    """Our engine, asked as `loads.play` has it; see `benchmarks.serving_peers`."""
    from benchmarks.loads import play
    from sharedllm.base.huge_pages import move_to_huge_pages
    from sharedllm.base.loading import load_base
    from sharedllm.serving.cache import places
    from sharedllm.serving.engine import Engine
    from sharedllm.serving.request import Finished, Limits, Token

    engine = Engine(load_base(BARE_BASE, weights=weights), Limits(cache_tokens=users * places(LONGEST)))
    engine.start()
    move_to_huge_pages()
    rows = made_rows(engine.layout.size, users)

    def make(answers: Any) -> tuple[Any, None]:
        def submit(place: int, prompt: list[int], new: int, own: bool) -> None:
            def deliver(event: Any) -> None:
                if isinstance(event, Token):
                    answers.token(place)
                elif isinstance(event, Finished):
                    answers.end()

            engine.submit(_asked(prompt, place % users, rows if own else None, new), deliver)

        return submit, None

    return {"play": lambda load: play(load, make)}


def _ask(engine: Any, prompts: list[list[int]], rows: Any) -> tuple[float, float]:
    """Seconds until all requests are answered, and until the first token of any."""
    from sharedllm.serving.request import Finished

    ended = [threading.Event() for _ in prompts]
    first: list[float] = []
    begun = time.perf_counter()
    for place, prompt in enumerate(prompts):

        def deliver(event: Any, place: int = place) -> None:
            first.append(time.perf_counter())
            if isinstance(event, Finished):
                ended[place].set()

        engine.submit(_asked(prompt, place, rows, NEW), deliver)
    for event in ended:
        event.wait()
    return time.perf_counter() - begun, first[0] - begun


def _asked(prompt: list[int], place: int, rows: Any, new: int) -> Any:
    """A request of the user of a row, or of the base where there are none."""
    from sharedllm.serving.request import Request, Sampling

    own = {} if rows is None else {"release": f"{place}", "values": rows[place]}
    greedy = Sampling(temperature=0)
    return Request(prompt, f"{place}", max_tokens=new, sampling=greedy, top_logprobs=None, ignore_end=True, **own)


def _generate(users: int) -> Orders:
    """transformers' `generate` of the base, a batch of equal prompts, with the attention that is named."""
    import torch

    from sharedllm.base.loading import load_base

    base = load_base(BARE_BASE)
    prompts = torch.tensor(made_prompts(base, users), device=base.device)

    def run(attention: str, users: int) -> float:
        base.model.set_attn_implementation(attention)
        return users * NEW / _seconds(base.model, prompts[:users], NEW)

    def first_token(attention: str) -> float:
        base.model.set_attn_implementation(attention)
        return _seconds(base.model, prompts[:1], 1)

    return {"run": run, "first_token": first_token}


def _seconds(model: Any, ids: Any, new: int, **options: Any) -> float:
    import torch

    begun = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
    return time.perf_counter() - begun


def _peft(users: int, config: Any) -> tuple[Any, Any]:
    """A PEFT model with an adapter a user, of the names 0, 1, 2 …, and everybody's prompt."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from sharedllm.base.loading import load_base

    base = load_base(BARE_BASE)
    ids = torch.tensor(made_prompts(base, users), device=base.device)
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=base.dtype).to(base.device)
    model = get_peft_model(model, config, adapter_name="0")
    for user in range(1, users):
        model.add_adapter(f"{user}", config)
    # A new adapter begins in training mode.
    return model.eval(), ids


def _peft_norm(users: int) -> Orders:
    """PEFT's norm tuning: `set_adapter` and `generate`, one user after the other."""
    from peft import LNTuningConfig

    model, ids = _peft(users, LNTuningConfig(task_type="CAUSAL_LM", target_modules=r".*norm"))

    def run(begin: int, end: int) -> float:
        begun = time.perf_counter()
        for user in range(begin, end):
            model.set_adapter(f"{user}")
            _seconds(model, ids[user : user + 1], NEW)
        return (end - begin) * NEW / (time.perf_counter() - begun)

    return {"run": run}


def _peft_lora(users: int) -> Orders:
    """PEFT's LoRA-r4: `generate` of a mixed batch by `adapter_names`."""
    from peft import LoraConfig

    from sharedllm.training.baselines import ALPHA, PROJECTIONS, RANK

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM")
    model, ids = _peft(users, config)
    names = [f"{user}" for user in range(users)]
    return {"run": lambda: users * NEW / _seconds(model, ids, NEW, adapter_names=names)}


def _admission(_: int) -> Orders:
    """From a user who is not in the table to their row on the device, through SQLite; seconds of each of them."""
    from sharedllm.base.loading import load_base
    from sharedllm.operations.route import route
    from sharedllm.serving.engine import Engine
    from sharedllm.store import open_store

    base = load_base(BARE_BASE)
    engine = Engine(base)
    table = engine._runner.table

    def run() -> dict[str, Any]:
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/store.db"
            fill(url, base, made_rows(engine.layout.size, STORED))
            with open_store(url) as store:
                for user in np.random.default_rng(1).permutation(STORED):
                    begun = time.perf_counter()
                    release = route(store, f"user {user}", base=base.fingerprint).release
                    if release is None:
                        raise SystemExit("A user who was stored is not served")
                    table.acquire(release.id, release.user, release.adapter.values)
                    seconds.append(time.perf_counter() - begun)
                    table.give_back(release.id)
        return {"seconds": seconds, "misses": table.misses}

    return {"run": run}


def _memory(_: int) -> Orders:
    """Bytes a second that the device copies: those read and those written."""
    import torch

    from sharedllm.base.loading import load_base

    device = load_base(BARE_BASE).device
    size = 2**28
    here = torch.zeros(size, dtype=torch.uint8, device=device)
    there = torch.zeros_like(here)

    def copied(times: int) -> float:
        begun = time.perf_counter()
        for _ in range(times):
            there.copy_(here)
        # Waits for the device.
        there[-1].item()
        return 2 * times * size / (time.perf_counter() - begun)

    def run() -> float:
        copied(1)
        return copied(10)

    return {"run": run}


def made_prompts(base: Any, count: int) -> list[list[int]]:
    """General text, cut into prompts."""
    from sharedllm.text.samples import sample_text

    ids = base.encode(sample_text("general")[:200_000])
    return [ids[place * PROMPT : (place + 1) * PROMPT] for place in range(count)]


def never_read(prompts: list[list[int]], turn: int) -> list[list[int]]:
    """The prompts with another token at their heads in every turn: an engine keeps what it has read for a person."""
    return [[turn, *prompt[1:]] for prompt in prompts]


def made_rows(width: int, count: int) -> Any:
    """Rows as stored ones are, of the size that training gives."""
    rows = 0.1 * np.random.default_rng(0).standard_normal((count, width))
    return rows.astype(np.float16).astype(np.float32)


def fill(url: str, base: Any, rows: Any) -> None:
    """Publish a row each for ``user 0``, ``user 1`` …"""
    from sharedllm.adapters.adapter import Adapter, GateOutcome
    from sharedllm.store import open_store

    passed = GateOutcome(passed=True, reason="made for a benchmark", figures={})
    with open_store(url) as store:
        store.publish_many(
            (f"user {user}", Adapter("norm", base.fingerprint, values, {}), passed) for user, values in enumerate(rows)
        )


CONTENDERS: dict[str, Callable[[int], Orders]] = {
    "engine": _engine,
    "loads": _loads,
    "loads in int8": partial(_loads, weights="int8"),
    "generate": _generate,
    "peft-norm": _peft_norm,
    "peft-lora": _peft_lora,
    "admission": _admission,
    "memory": _memory,
}

if __name__ == "__main__":
    take_orders(CONTENDERS[sys.argv[1]](int(sys.argv[2])))
