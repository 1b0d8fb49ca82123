"""What it brings one stream of a person to have tokens of their own text proposed, on one thread. SmolLM2-135M.

    sharedllm demo --store out/store.db
    python -m benchmarks.speculation out/store.db           # goes on where it ended; without the result file, anew
    python -m benchmarks.speculation out/store.db costs     # this part alone

- ``costs``: a pass of some streams that each read so many tokens, beside one in which each reads one, in turns. They
  have a row each and 128 tokens before.
- ``choice``: how many tokens have to be the same before something is proposed, and how many are: answers that were
  drawn without, from people's *validation* text, gone through by what a pass costs.
- ``answers``: with and without, one right after the other, neither always the first; from the first token to the last.
  *general*: 64 tokens of general text under a random row. *programmer*, *novelist*: 192 tokens of held-out text, under
  the person's own adapter. *edit*: a chat that gives a paragraph of theirs, and asks for it again with a word replaced.
  64 new tokens each, the likeliest and at temperature 0.8.

Seconds are those in which the thread computed. An answer is ``same`` if all of its tokens are: a pass of several tokens
rounds otherwise than one of a single token, and in bfloat16 that turns near ties, as being in another batch does.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, cycle
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.processors import NATIVE, result_path
from benchmarks.serving import median_interval
from benchmarks.serving_contenders import made_prompts, made_rows
from sharedllm.base.conversations import ChatTurn, chat_ids
from sharedllm.base.loading import Base, load_base
from sharedllm.base.resolve import BARE_BASE
from sharedllm.evaluation.perplexity import spread
from sharedllm.reporting.environment import describe
from sharedllm.serving import scheduler, speculation
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, RequestEvent, Sampling
from sharedllm.serving.speculation import Proposals
from sharedllm.store import open_store
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize

RESULT = result_path("speculation")
USERS = ("programmer", "novelist")
PROMPTS, PROMPT, NEW, PARAGRAPH = 6, 192, 64, 80
SAMPLINGS = {"greedy": Sampling(temperature=0), "temperature 0.8": Sampling(temperature=0.8)}
COSTS: list[tuple[str, int, tuple[int, ...]]] = [
    (NATIVE, 1, (1, 2, 3, 4, 6, 8)),
    (NATIVE, 2, (1, 2, 3, 4)),
    (NATIVE, 4, (1, 2)),
    ("float32", 1, (1, 3, 6)),
    ("int8", 1, (1, 3, 6)),
]
"""What a base computes in or holds its weights in, streams, and how many tokens each reads in a pass."""
LENGTHS, MOST = (2, 3, 4), (1, 3, 5, 7)
PASSES, BEFORE = 40, 128
Row = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Asked:
    """A prompt, and the row that answers."""

    task: str
    prompt: list[int]
    row: Row


class Stream:
    """An engine that is driven pass by pass, for one request at a time."""

    def __init__(self, base: Base) -> None:
        self.engine = Engine(base, Limits(running=8, cache_tokens=8192))
        self.engine._scheduler._speculates = True
        self._releases = count()

    def submit(self, asked: Asked, sampling: Sampling, deliver: Callable[[RequestEvent], None]) -> None:
        """A request of a release that nobody has asked before, so that nothing is read of its prompt."""
        name = f"{next(self._releases)}"
        request = Request(
            asked.prompt,
            "somebody",
            release=name,
            values=asked.row,
            max_tokens=NEW,
            sampling=sampling,
            top_logprobs=None,
            ignore_end=asked.task != "edit",
        )
        self.engine.submit(request, deliver)

    def step(self) -> None:
        """One pass."""
        self.engine._prepare()
        self.engine.step()

    def answer(self, asked: Asked, sampling: Sampling, *, speculates: bool) -> dict[str, Any]:
        """Seconds from the first token to the last, and what was drawn."""
        events: list[RequestEvent] = []
        self.engine._scheduler._speculates = speculates
        self.submit(asked, sampling, events.append)
        while not events:
            self.step()
        counters = self.engine.counters
        before = counters.batches, counters.proposed_tokens, counters.accepted_tokens
        begun = time.thread_time()
        while not isinstance(events[-1], Finished):
            self.step()
        seconds = time.thread_time() - begun
        passes, proposed, accepted = (
            now - then
            for now, then in zip(
                (counters.batches, counters.proposed_tokens, counters.accepted_tokens), before, strict=True
            )
        )
        ids = [event.scored.id for event in events if not isinstance(event, Finished)]
        return {"seconds": seconds, "passes": passes, "proposed": proposed, "accepted": accepted, "ids": ids}


def main() -> None:
    torch.set_num_threads(1)
    parts: dict[str, Callable[[dict[str, Any]], None]] = {
        "costs": _costs,
        "choice": lambda result: _choice(_base(NATIVE), sys.argv[1], result),
        "answers": lambda result: _answers(_base(NATIVE), sys.argv[1], result),
    }
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result["environment"] = describe() | {"threads": 1}
    for part in sys.argv[2:] or parts:
        parts[part](result)


@cache
def _base(kind: str) -> Base:
    if kind == "int8":
        return load_base(BARE_BASE, device="cpu", weights="int8")
    return load_base(BARE_BASE, device="cpu", dtype=getattr(torch, kind))


def _keep(result: dict[str, Any]) -> None:
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


# What a pass costs


def _costs(result: dict[str, Any]) -> None:
    costs = result.setdefault("costs", [])
    for kind, streams, lengths in COSTS:
        if any((each["base"], each["streams"]) == (kind, streams) for each in costs):
            continue
        passes = _passes(_base(kind), streams, lengths)
        for tokens in lengths:
            ratios = [several / one for several, one in zip(passes[tokens], passes[1], strict=True)]
            cost = {"cost": statistics.median(ratios), "interval": median_interval(ratios)}
            known = {"base": kind, "streams": streams, "tokens": tokens, "others": os.getloadavg()[0]}
            costs.append(known | cost | {"seconds": passes[tokens]})
            print(kind, streams, tokens, 1e3 * statistics.median(passes[tokens]), cost, flush=True)
        _keep(result)


def _passes(base: Base, streams: int, lengths: Sequence[int]) -> dict[int, list[float]]:
    """Seconds of passes by how many tokens each stream reads."""
    stream = Stream(base)
    rows = cycle(made_rows(stream.engine.layout.size, 16))
    prompts = [(prompt + prompt)[:BEFORE] for prompt in made_prompts(base, streams)]
    passes: dict[int, list[float]] = {tokens: [] for tokens in lengths}
    wanted = 1

    def propose(_: Proposals, ids: Sequence[int], most: int) -> tuple[int, ...]:
        return tuple(ids[: wanted - 1])

    unbound = patch.multiple(scheduler, _FEW_TOKENS=64, _LEAST_PROPOSED=0)
    with patch.object(Proposals, "propose", propose), unbound:
        while len(passes[1]) < PASSES:
            # Anew, so that all have about as many keys.
            stream.engine._scheduler.end(lambda _: True, "cancelled")
            wanted = 1
            answered = [False] * streams
            for place, prompt in enumerate(prompts):
                stream.submit(Asked("costs", prompt, next(rows)), SAMPLINGS["greedy"], partial(_noted, answered, place))
            while not all(answered):
                stream.step()
            stream.step()
            for turn in range(4):
                for wanted in lengths[:: 1 if turn % 2 else -1]:
                    begun = time.thread_time()
                    stream.step()
                    passes[wanted].append(time.thread_time() - begun)
    stream.engine.close()
    return passes


def _noted(answered: list[bool], place: int, _: RequestEvent) -> None:
    answered[place] = True


# What to propose


def _choice(base: Base, store: str, result: dict[str, Any]) -> None:
    rows = _rows(base, store)
    answers: dict[tuple[str, str], list[tuple[Asked, Sampling]]] = {}
    for asked in _of_people(base, rows, "validation"):
        for name, sampling in SAMPLINGS.items():
            answers.setdefault((asked.task, name), []).append((asked, sampling))
    drawn = _drawn(base, answers)
    one = [each for each in result["costs"] if (each["base"], each["streams"]) == (NATIVE, 1)]
    costs = {each["tokens"]: each["cost"] for each in one}
    result["choice"] = [
        {"task": task, "sampling": name, "length": length, "most": most}
        | {"times_as_fast": statistics.median(_gone_through(*each, length, most, costs) for each in texts)}
        for (task, name), texts in drawn.items()
        for length in LENGTHS
        for most in MOST
    ]
    _keep(result)


def _drawn(
    base: Base, asked: dict[tuple[str, str], list[tuple[Asked, Sampling]]]
) -> dict[tuple[str, str], list[tuple[list[int], list[int]]]]:
    """Prompts and answers, drawn in one batch without proposals."""
    every = [(kind, *each) for kind, those in asked.items() for each in those]
    engine = Engine(base, Limits(waiting=len(every), waiting_per_owner=len(every), speculates=False))
    events: list[list[RequestEvent]] = [[] for _ in every]
    for place, (_, each, sampling) in enumerate(every):
        request = Request(
            each.prompt,
            f"{place}",
            release=f"{place}",
            values=each.row,
            max_tokens=NEW,
            sampling=sampling,
            top_logprobs=None,
            ignore_end=each.task != "edit",
        )
        engine.submit(request, events[place].append)
    while engine._scheduler.busy:
        engine._prepare()
        engine.step()
    engine.close()
    found: dict[tuple[str, str], list[tuple[list[int], list[int]]]] = {}
    for (kind, each, _), told in zip(every, events, strict=True):
        ids = [event.scored.id for event in told if not isinstance(event, Finished)]
        found.setdefault(kind, []).append((each.prompt, ids))
    return found


def _gone_through(prompt: list[int], answer: list[int], length: int, most: int, costs: dict[int, float]) -> float:
    """How many times as fast an answer is with proposals, by the passes that it takes after the first."""
    with patch.object(speculation, "_LENGTH", length):
        proposals = Proposals()
        spent, known = 0.0, 1
        while known < len(answer):
            proposed = proposals.propose([*prompt, *answer[:known]], min(most, len(answer) - known - 1))
            spent += float(np.interp(1 + len(proposed), list(costs), list(costs.values())))
            known += 1
            for token in proposed:
                if token != answer[known - 1]:
                    break
                proposals.accept()
                known += 1
    return (len(answer) - 1) / spent if spent else 1.0


# What it brings


def _answers(base: Base, store: str, result: dict[str, Any]) -> None:
    rows, stream = _rows(base, store), Stream(base)
    made = made_rows(stream.engine.layout.size, PROMPTS)
    general = [Asked("general", prompt, row) for prompt, row in zip(made_prompts(base, PROMPTS), made, strict=True)]
    answers = result.setdefault("answers", [])
    # In turns, so that whoever ends it early has some of each.
    every = sorted(enumerate([*general, *_of_people(base, rows, "heldout")]), key=lambda each: each[0] % PROMPTS)
    for number, asked in every:
        for name, sampling in SAMPLINGS.items():
            if any(each["number"] == number and each["sampling"] == name for each in answers):
                continue
            pair: dict[str, Any] = {}
            for way in ("without", "with")[:: 1 if number % 2 else -1]:
                pair[way] = stream.answer(asked, sampling, speculates=way == "with")
            same = pair["with"].pop("ids") == pair["without"].pop("ids")
            known = {"number": number, "task": asked.task, "sampling": name, "same": same, "others": os.getloadavg()[0]}
            answers.append(known | pair)
            print(answers[-1], flush=True)
            result["summary"] = summarise(answers)
            _keep(result)
    stream.engine.close()


def summarise(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By task and sampling: how many times as fast, what came of proposals, and how many answers are the same."""
    kinds = dict.fromkeys((each["task"], each["sampling"]) for each in answers)
    found = []
    for task, sampling in kinds:
        pairs = [each for each in answers if (each["task"], each["sampling"]) == (task, sampling)]
        ratios = [_rate(each["with"]) / _rate(each["without"]) for each in pairs]
        interval = median_interval(ratios)
        proposed, accepted = (sum(each["with"][kind] for each in pairs) for kind in ("proposed", "accepted"))
        found.append(
            {
                "task": task,
                "sampling": sampling,
                "times_as_fast": statistics.median(ratios),
                "interval": None if math.isnan(interval[0]) else interval,
                "least": min(ratios),
                "most": max(ratios),
                "tokens_per_second": statistics.median(_rate(each["with"]) for each in pairs),
                "proposed": proposed,
                "accepted": accepted,
                "same": sum(each["same"] for each in pairs),
                "pairs": len(pairs),
            }
        )
    return found


def _rate(answer: dict[str, Any]) -> float:
    rate: float = (answer["passes"] + answer["accepted"]) / answer["seconds"]
    return rate


def _rows(base: Base, store: str) -> dict[str, Row]:
    """The newest adapter of each user that belongs to the base."""
    with open_store(store) as opened:
        releases = [opened.release(user, 1 + n) for user in USERS for n in range(opened.user(user).releases)]
    rows = {each.user: each.adapter.values for each in releases if each.adapter.base == base.fingerprint}
    if rows.keys() != set(USERS):
        raise SystemExit(f"{store} has no adapters of {' and '.join(USERS)} for {base.name}")
    return rows


def _of_people(base: Base, rows: dict[str, Row], block: str) -> Iterator[Asked]:
    """What goes on from people's own text, and what repeats it."""
    for user, row in rows.items():
        text = getattr(tokenize(user, split_text(sample_text(user)), base.encode), block)
        for window in spread(text, PROMPTS).tolist():
            yield Asked(user, window[:PROMPT], row)
    for user, row in rows.items():
        text = getattr(tokenize(user, split_text(sample_text(user)), base.encode), block)
        for window in spread(text, PROMPTS // 2).tolist():
            paragraph = base.decode(window[:PARAGRAPH])
            words = [word for word in paragraph.split() if word.isalpha()]
            word = max(words, key=len)
            asked = f'Repeat this text, but replace "{word}" by "something":\n\n{paragraph}'
            yield Asked("edit", chat_ids(base, [ChatTurn("user", asked)]), row)


if __name__ == "__main__":
    main()
