"""The time to the first token of a conversation's next turn, beside a conversation that is read anew each time.

    python -m benchmarks.conversations

One engine, one person after the other. Each has a conversation of some length, which was read and answered; then they
say a few words more. In turns, whoever's turn it is goes on from what was kept, or asks under a release that nobody has
asked under before and so is read whole. The clock runs from the request to its first token; what else the machine does
is the same for both.
"""

import json
import statistics
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import DEFAULT_BASE
from sharedllm.reporting.environment import describe
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, RequestEvent, Sampling, Token

RESULT = Path(__file__).parent / "results" / "conversations.json"
LENGTHS, NEW_WORDS, ANSWER, PAIRS = (256, 1024), 24, 16, 5


def main() -> None:
    base = load_base(DEFAULT_BASE)
    engine = Engine(base, Limits(running=4, cache_tokens=8192, table_bytes=16 * 1024**2))
    engine.start()
    runs = {str(length): [pair(engine, base, length, number) for number in range(PAIRS)] for length in LENGTHS}
    engine.close()
    summary = {
        length: {
            "seconds to the first token, kept": statistics.median(kept for kept, _, _ in found),
            "read anew": statistics.median(anew for _, anew, _ in found),
            "kept beside anew": statistics.median(kept / anew for kept, anew, _ in found),
            "tokens kept": statistics.median(cached for _, _, cached in found),
        }
        for length, found in runs.items()
    }
    result = {
        "environment": describe(),
        "summary": summary,
        "new words in tokens": NEW_WORDS,
        "seconds kept and anew, and tokens kept, by tokens of the conversation": runs,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


def pair(engine: Engine, base: Base, length: int, number: int) -> tuple[float, float, int]:
    """Seconds to the first token of a turn that goes on and of one that is read anew, and how much was kept."""
    chance = np.random.default_rng([length, number])
    values = (0.05 * chance.standard_normal(engine.layout.size)).astype(np.float16).astype(np.float32)
    ordinary = np.setdiff1d(np.arange(len(base.tokenizer)), base.tokenizer.all_special_ids)
    first = chance.choice(ordinary, length).tolist()
    _, _, answer = ask(engine, first, f"{length}/{number}", values)
    second = [*first, *answer, *chance.choice(ordinary, NEW_WORDS).tolist()]
    found = {}
    # Whoever came first in a pair comes last in the next.
    for kept in (True, False) if number % 2 else (False, True):
        name = f"{length}/{number}" + ("" if kept else " anew")
        found[kept] = ask(engine, second, name, values)
    if found[False][1] or not found[True][1]:
        raise SystemExit("what was to be read anew was not, or the other way round")
    return found[True][0], found[False][0], found[True][1]


def ask(engine: Engine, prompt: list[int], person: str, values: Any) -> tuple[float, int, list[int]]:
    """Seconds to the first token, how many tokens of the prompt had been read before, and the answer."""
    news: SimpleQueue[RequestEvent] = SimpleQueue()
    sampling = Sampling(temperature=0)
    begun = time.perf_counter()
    request = Request(prompt, person, person, values, max_tokens=ANSWER, sampling=sampling, top_logprobs=None)
    engine.submit(request, news.put)
    seconds, answer = 0.0, []
    while not isinstance(event := news.get(), Finished):
        assert isinstance(event, Token)
        seconds = seconds or time.perf_counter() - begun
        answer.append(event.scored.id)
    return seconds, event.cached_tokens, answer


if __name__ == "__main__":
    main()
