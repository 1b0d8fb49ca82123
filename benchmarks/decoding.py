"""Which way of drawing tokens writes most like people: what `sharedllm ask` and the server do unless told otherwise.

    sharedllm demo --store out/store.db
    python -m benchmarks.decoding out/store.db JUDGE    # JUDGE is a larger base: a folder, a .gguf file or a hub id

Three tasks for the base and for each user's own adapter, several prompts and seeds each. *continue*: 64 tokens of
held-out text go on. *chat*: the same, asked for as a chat. *ask*: questions. For the first two the words that the
person really wrote next are known, and every answer has four figures beside theirs, cut to the same length:

- nats a character under a larger model (nonsense is far above the person's, loops are far below);
- the share of its 4-grams of tokens that it had said before;
- how many of its 2-grams are different ones;
- nats a token under the base itself, which is told but does not count: at temperature 1 a model's own text is about as
  surprising to it as people's, however little sense it makes, since that is what it was trained for.

``distance`` is how far a candidate's answers are from people's: the Wasserstein distance of each of the first three
over the answers of a task, user and reader, in standard deviations of the person's passages, averaged. It
cannot choose alone: two of the figures know nothing of sense. Nobody wrote answers to the questions, so there the
figures themselves are told. A repetition penalty, which the engine does not have, is that of transformers' `generate`.
Candidates that are in the result file are not run again.
"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.conversations import ChatTurn, chat_ids
from sharedllm.base.loading import Base, load_base
from sharedllm.evaluation.likelihood import token_losses
from sharedllm.evaluation.perplexity import spread
from sharedllm.reporting.environment import describe
from sharedllm.serving.engine import Engine
from sharedllm.serving.request import Finished, Limits, Request, Sampling, Token
from sharedllm.store import open_store
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import tokenize

RESULT = Path(__file__).parent / "results" / "decoding.json"
USERS = ("programmer", "novelist")
PROMPTS = 4
SEEDS = 2
PROMPT_TOKENS = 64
NEW = 64
FEWEST = 16
"""Shorter answers have too few 4-grams to say anything about."""
QUESTIONS = (
    "Who came to the door?",
    "What should I write about next?",
    "Explain how a telescope works.",
    "Give me some advice for a long train journey.",
)
CANDIDATES: list[dict[str, float]] = [
    {"temperature": 0},
    {"temperature": 1},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1, "min_p": 0.1},
    {"temperature": 0.8, "top_p": 0.95},
    {"temperature": 0.8, "min_p": 0.05},
    {"temperature": 1, "min_p": 0.05},
    {"temperature": 1, "top_p": 0.9},
    {"temperature": 0.8, "min_p": 0.1},
    {"temperature": 0.8, "top_p": 0.9},
    {"temperature": 1, "top_p": 0.95},
    {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1},
    {"temperature": 0, "repetition_penalty": 1.1},
]
Known = dict[tuple[int, ...], dict[str, float]]
COUNTED = ("judged", "repeated_4grams", "distinct_2grams")


@dataclass(frozen=True, eq=False)
class Asked:
    """One answer that is wanted.

    Attributes:
        task: continue, chat or ask.
        user: whose text or adapter it is about.
        reader: own or base.
        prompt: token ids.
        shown: what the judge reads before the answer.
        human: the person's own words after it, token ids; empty where there are none.
        row: the adapter's values, or None for the base.
        seed: of the draw.
    """

    task: str
    user: str
    reader: str
    prompt: list[int]
    shown: str
    human: list[int]
    row: NDArray[np.float32] | None
    seed: int


def main() -> None:
    base, judge = load_base(), load_base(sys.argv[2])
    asked = list(_asked(base, _adapters(sys.argv[1], base)))
    people: Known = {}
    done = json.loads(RESULT.read_text())["candidates"] if RESULT.is_file() else []
    for candidate in CANDIDATES:
        if any(each["sampling"] == candidate for each in done):
            continue
        draw = _with_penalty if "repetition_penalty" in candidate else _by_engine
        done.append({"sampling": candidate} | _measured(base, judge, asked, draw(base, asked, candidate), people))
        result = {
            "environment": describe(),
            "judge": {"fingerprint": judge.fingerprint, "parameters": judge.model.num_parameters()},
            "generation_config": _stated(base),
            "prompts": PROMPTS,
            "seeds": SEEDS,
            "prompt_tokens": PROMPT_TOKENS,
            "new_tokens": NEW,
            "candidates": done,
        }
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        print(candidate, f"distance {done[-1]['distance']:.2f}", flush=True)


def _stated(base: Base) -> dict[str, Any]:
    """How the base itself says it wants to be drawn from."""
    return {
        name: getattr(base.model.generation_config, name) for name in ("do_sample", "temperature", "top_p", "min_p")
    }


def _adapters(store: str, base: Base) -> dict[str, NDArray[np.float32]]:
    with open_store(store) as opened:
        # Held back or served: what is asked here is how their adapters write.
        releases = {user: opened.release(user, opened.user(user).releases) for user in USERS}
    for release in releases.values():
        assert release.adapter.base == base.fingerprint
    return {user: release.adapter.values for user, release in releases.items()}


def _asked(base: Base, adapters: dict[str, NDArray[np.float32]]) -> Iterator[Asked]:
    for number, (user, values) in enumerate(adapters.items()):
        heldout = spread(tokenize(user, split_text(sample_text(user)), base.encode).heldout, PROMPTS)
        for reader, row in (("base", None), ("own", values)):
            for seed in range(SEEDS):
                for window in heldout.tolist():
                    told, human = window[:PROMPT_TOKENS], window[PROMPT_TOKENS : PROMPT_TOKENS + NEW]
                    text = base.decode(told)
                    chat = chat_ids(base, [ChatTurn("user", f"Continue this text:\n\n{text}")])
                    yield Asked("continue", user, reader, told, text, human, row, seed)
                    yield Asked("chat", user, reader, chat, text, human, row, seed)
                for question in QUESTIONS:
                    if row is not None or not number:
                        chat = chat_ids(base, [ChatTurn("user", question)])
                        yield Asked("ask", user, reader, chat, f"{question}\n", [], row, seed)


def _by_engine(base: Base, asked: Sequence[Asked], candidate: dict[str, float]) -> list[list[int]]:
    engine = Engine(base, Limits(waiting=len(asked), cache_tokens=64 * 512))
    news: SimpleQueue[tuple[int, Token | Finished]] = SimpleQueue()
    engine.start()
    answers: list[list[int]] = [[] for _ in asked]
    try:
        for place, each in enumerate(asked):
            # Of its own, so that no two answers share their noise.
            sampling = replace(Sampling(**candidate), seed=each.seed * len(asked) + place)  # type: ignore[arg-type]
            own = {} if each.row is None else {"release": each.user, "values": each.row}
            request = Request(
                each.prompt,
                f"{place}",
                max_tokens=NEW,
                sampling=sampling,
                top_logprobs=None,
                **own,  # type: ignore[arg-type]
            )
            engine.submit(request, lambda event, place=place: news.put((place, event)))  # type: ignore[misc]
        left = len(asked)
        while left:
            place, event = news.get()
            if isinstance(event, Token):
                answers[place].append(event.scored.id)
            else:
                assert event.reason in ("stop", "length"), event
                left -= 1
    finally:
        engine.close()
    return answers


def _with_penalty(base: Base, asked: Sequence[Asked], candidate: dict[str, float]) -> list[list[int]]:
    injection = Injection(base, layout_of(base))
    drawn: dict[str, Any] = dict(candidate) | {"top_k": 0} if candidate["temperature"] else {"do_sample": False}
    if candidate["temperature"]:
        drawn["do_sample"] = True
    drawn["repetition_penalty"] = candidate["repetition_penalty"]
    answers: list[list[int]] = [[] for _ in asked]
    places = sorted(range(len(asked)), key=lambda place: len(asked[place].prompt))
    torch.manual_seed(0)
    try:
        # Prompts of one length need no padding.
        for length, group in groupby(places, key=lambda place: len(asked[place].prompt)):
            members = list(group)
            ids = torch.tensor([asked[place].prompt for place in members])
            zeros = np.zeros(injection.layout.size, np.float32)
            table = torch.from_numpy(
                np.stack([zeros if (row := asked[place].row) is None else row for place in members])
            )
            with torch.inference_mode(), injection.rows(table, torch.arange(len(members))):
                texts = base.model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, pad_token_id=2, **drawn
                )
            for place, text in zip(members, texts[:, length:].tolist(), strict=True):
                end = next((at + 1 for at, token in enumerate(text) if token in base.end_tokens), len(text))
                answers[place] = text[:end]
    finally:
        injection.remove()
    return answers


def _measured(
    base: Base, judge: Base, asked: Sequence[Asked], answers: Sequence[list[int]], known: Known
) -> dict[str, Any]:
    # The end is no word, whoever says it.
    texts = [answer[:-1] if answer and answer[-1] in base.end_tokens else answer for answer in answers]
    long = [(each, said) for each, said in zip(asked, texts, strict=True) if len(said) >= FEWEST]
    told = [(each, each.human[: len(said)]) for each, said in long if each.human]
    # The same words are compared with again and again.
    new = {_key(*each): each for each in told if _key(*each) not in known}
    known |= dict(zip(new, _figures(base, judge, list(new.values())), strict=True))
    figures, people = _figures(base, judge, long), iter([known[_key(*each)] for each in told])
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    for (each, _), own in zip(long, figures, strict=True):
        cell = cells.setdefault((each.task, each.user, each.reader), {"answers": [], "people": []})
        cell["answers"].append(own)
        if each.human:
            cell["people"].append(next(people))
    for cell in cells.values():
        if cell["people"]:
            cell["distance"] = {name: _distance(cell["answers"], cell["people"], name) for name in COUNTED}
    distances = [value for cell in cells.values() for value in cell.get("distance", {}).values()]
    rows = [{"task": task, "user": user, "reader": reader} | cell for (task, user, reader), cell in cells.items()]
    return {"distance": statistics.mean(distances), "short": len(asked) - len(long), "cells": rows}


def _key(each: Asked, said: list[int]) -> tuple[int, ...]:
    return (*each.prompt, -1, *said)


def _figures(base: Base, judge: Base, said: Sequence[tuple[Asked, list[int]]]) -> list[dict[str, float]]:
    own = _nats(base, [(each.prompt, ids) for each, ids in said])
    texts = [base.decode(ids) for _, ids in said]
    shown = [judge.encode(each.shown) for each, _ in said]
    judged = _nats(judge, [(prompt, judge.encode(text)) for prompt, text in zip(shown, texts, strict=True)])
    found = []
    for (_, ids), text, nats, other in zip(said, texts, own, judged, strict=True):
        fours, twos = (list(zip(*(ids[at:] for at in range(n)), strict=False)) for n in (4, 2))
        found.append(
            {
                "judged": round(other / max(1, len(text)), 4),
                "repeated_4grams": round(1 - len(set(fours)) / len(fours), 4),
                "distinct_2grams": round(len(set(twos)) / len(twos), 4),
                "own": round(nats / len(ids), 4),
            }
        )
    return found


def _nats(base: Base, texts: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """Total nats of each text after its prompt."""
    found = [0.0] * len(texts)
    places = sorted(range(len(texts)), key=lambda place: len(texts[place][0]) + len(texts[place][1]))
    for batch in (places[begin : begin + 8] for begin in range(0, len(places), 8)):
        lengths = [len(texts[place][0]) + len(texts[place][1]) for place in batch]
        # What fills up a shorter one comes after it, where none of its tokens looks.
        ids = torch.tensor(
            [
                [*texts[place][0], *texts[place][1], *[0] * (max(lengths) - n)]
                for place, n in zip(batch, lengths, strict=True)
            ]
        )
        with torch.inference_mode():
            hidden = base.hidden(ids)
            for row, (place, length) in enumerate(zip(batch, lengths, strict=True)):
                begin = len(texts[place][0])
                losses = token_losses(hidden[row, begin - 1 : length - 1], base.head, ids[row, begin:length])
                found[place] = float(losses.double().sum())
    return found


def _distance(own: Sequence[dict[str, float]], people: Sequence[dict[str, float]], name: str) -> float:
    """Wasserstein's, in standard deviations of the people's."""
    ours, theirs = (np.sort([each[name] for each in side]) for side in (own, people))
    return float(np.mean(np.abs(ours - theirs))) / max(float(np.std(theirs)), 0.01)


def table() -> str:
    """The candidates as Markdown, the nearest to people first; `docs/serving.md` has it."""
    candidates = json.loads(RESULT.read_text())["candidates"]
    rows = [
        (_named(each["sampling"]), _means(each, "answers"), each["distance"])
        for each in sorted(candidates, key=lambda each: float(each["distance"]))
    ]
    lines = [_row(name, means, f"{distance:.1f}") for name, means, distance in rows]
    people = _row("what people wrote", _means(candidates[0], "people"), "")
    head = "| drawn with | nats a character, judged | 4-grams said before | different 2-grams | distance |"
    return "\n".join([head, "|---|---|---|---|---|", people, *lines]) + "\n"


def _named(sampling: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in sampling.items())


def _means(candidate: dict[str, Any], side: str) -> dict[str, float]:
    """Of each figure over the texts that people went on with."""
    texts = [text for cell in candidate["cells"] if cell["people"] for text in cell[side]]
    return {name: statistics.mean(text[name] for text in texts) for name in COUNTED}


def _row(name: str, means: dict[str, float], distance: str) -> str:
    judged, repeated, distinct = (means[each] for each in COUNTED)
    return f"| {name} | {judged:.2f} | {repeated:.1%} | {distinct:.0%} | {distance} |"


if __name__ == "__main__":
    main()
