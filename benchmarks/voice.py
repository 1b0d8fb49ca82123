"""Whether a person's answers in a chat come nearer to how they write if some of their text is learned as answers.

    python -m benchmarks.voice            # every person is kept, and the same command goes on
    python -m benchmarks.voice 20         # for twenty minutes

An adapter of running text is asked in the assistant's turn of a chat template, where it learned nothing. So a share of
each sample user's training text is learned inside that turn, behind generic questions that are read and not predicted,
in as many steps. Asked are other questions. How far all answers are from the person's held-out text is Burrows's Delta
(`sharedllm.evaluation.style`); what it costs is measured on held-out running text and on general text.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sharedllm.base.conversations import ChatTurn, chat_ids, learned_ids
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.evaluation.style import distance, shipped_reference
from sharedllm.operations.ask import generate
from sharedllm.operations.train import train_and_judge
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.serving.request import Sampling
from sharedllm.text.passages import Passage
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import Split, cut, split_text
from sharedllm.text.windows import TokenizedText, tokenize
from sharedllm.training.recipes import RECIPES, tuned

RESULT = Path(__file__).parent / "results" / "voice.json"
BASE = "smollm2-135m-people"
USERS = ("novelist", "scientist", "journalist")
"""The sample users who write prose: of programs no answers are expected."""

SHARES = (0.0, 0.25, 0.5)
STEPS, WINDOWS = 50, 16
CHUNK, ANSWER_TOKENS, ANSWER_CHARACTERS = 600, 80, 320
SAMPLING = Sampling(temperature=0.8, seed=0)

LEARNED_BEHIND = (
    "Write something.",
    "Go on.",
    "What do you think?",
    "Tell me more.",
    "Please continue.",
    "Say that in your own words.",
    "What happened?",
    "And then?",
)
ASKED = (
    "How was your day?",
    "What is the best thing about winter?",
    "Tell me about a place that you know well.",
    "Why do people travel?",
    "What should I read next?",
    "Explain what a government does.",
    "What do you remember of your childhood?",
    "How does somebody learn a new language?",
    "Describe the sea.",
    "What makes a good friend?",
    "What worries you about the future?",
    "How would you spend a free week?",
)


def main() -> None:
    ends = time.monotonic() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else math.inf
    result: dict[str, Any] = {"environment": describe(), "base": BASE, "steps": STEPS, "people": {}}
    if RESULT.exists():
        result = json.loads(RESULT.read_text())
    with tempfile.TemporaryDirectory() as folder, Workplace(BASE, folder=Path(folder)) as place:
        for user in USERS:
            if user in result["people"] or time.monotonic() > ends:
                continue
            result["people"][user] = _measured(place, user)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")
            print(user, json.dumps(result["people"][user]), flush=True)


def voiced(split: Split, share: float) -> Split:
    """A split of running text with a share of the training block as answers; the other blocks are as they were."""
    passages: list[Passage] = []
    begin, taken = 0, 0
    for number in range(math.ceil(len(split.train) / CHUNK)):
        limit = (number + 1) * CHUNK
        end = len(split.train) if limit >= len(split.train) else cut(split.train, range(limit, limit - CHUNK // 4, -1))
        text = split.train[begin:end]
        if text.strip() and int((number + 1) * share) > taken:
            question = LEARNED_BEHIND[taken % len(LEARNED_BEHIND)]
            passages += [Passage(question, "other", begins=True), Passage(text, "own")]
            taken += 1
        else:
            passages.append(Passage(text, "text"))
        begin = end
    return replace(split, blocks=(tuple(passages), *split.blocks[1:]))


def _measured(place: Workplace, user: str) -> dict[str, Any]:
    base, recipe = place.base, tuned(RECIPES["default"], steps=STEPS)
    split = split_text(sample_text(user), user=user)
    texts = {share: _tokenized(place, user, split, share) for share in SHARES}
    rows = {"base": np.zeros(place.injection(recipe.method).layout.size, np.float32)}
    gates = {}
    for share, text in texts.items():
        (judged,) = train_and_judge(place, [text], recipe)
        if judged.adapter is None or judged.gate is None:
            raise SystemExit(str(judged.error))
        # As the store returns it.
        rows[f"{share:g}"] = judged.adapter.values.astype(np.float16).astype(np.float32)
        gates[f"{share:g}"] = judged.gate.reason
    table = np.stack(list(rows.values()))
    windows = {
        "own": spread(texts[0.0].heldout, WINDOWS),
        "general": spread(place.general("heldout", recipe.window), WINDOWS),
    }
    injection = place.injection(recipe.method)
    losses = {
        name: dict(zip(rows, row_losses(base, injection, table, each), strict=True)) for name, each in windows.items()
    }
    place.close()
    prompts = [chat_ids(base, [ChatTurn("user", question)]) for question in ASKED]
    asked = [(ids, None if name == "base" else row) for name, row in rows.items() for ids in prompts]
    answers = generate(base, asked, max_tokens=ANSWER_TOKENS, sampling=SAMPLING, format=recipe.method)
    written = {name: answers[place * len(ASKED) :][: len(ASKED)] for place, name in enumerate(rows)}
    return {
        "gates": gates,
        "style": _styles(split.heldout, written),
        **{
            name: {
                reader: {"perplexity": of[reader].perplexity, "over_plain": improvement(of["0"], of[reader]).as_dict()}
                for reader in rows
            }
            for name, of in losses.items()
        },
    }


def _tokenized(place: Workplace, user: str, split: Split, share: float) -> TokenizedText:
    # Unfinished training is known by the user and the text, which is the same for every share.
    name, tokens = f"{user} {share:g}", place.base.tokens
    made = voiced(split, share) if share else split
    return tokenize(name, made, tokens.encode, converse=partial(learned_ids, tokens))


def _styles(heldout: str, written: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The Delta of each reader's answers to as many pieces of held-out text, and how much nearer than plain's it is."""
    step = len(heldout) // len(ASKED)
    real = [heldout[place * step :][:ANSWER_CHARACTERS] for place in range(len(ASKED))]
    reference, found = shipped_reference(), {}
    for reader, answers in written.items():
        cut_alike = [answer[:ANSWER_CHARACTERS] for answer in answers]
        plain = [answer[:ANSWER_CHARACTERS] for answer in written["0"]]
        delta, nearer = distance(reference, real, cut_alike), distance(reference, real, plain, cut_alike)
        found[reader] = {
            "delta": delta and delta.as_dict(),
            "nearer_than_plain": nearer and nearer.as_dict(),
            "characters": sum(map(len, cut_alike)),
        }
    return found


if __name__ == "__main__":
    main()
