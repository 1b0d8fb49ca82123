"""Whether short turns that recur in a chat, like "ok" and "haha yes", should be learned each time or once.

    python -m benchmarks.short_turns        # ten minutes on two cores; writes benchmarks/results/short_turns.json

Three people of a public chat whom the prior never saw, their turns as they wrote them, repeats and all. Each is trained
on the chats of some `OWN` characters of theirs in which the most short turns recur, so that if it matters it shows:
with every turn learned, and with a short turn learned where it is first said and only read wherever it is said again.
Both are read on the same chats that follow: on all turns there, and without those that recur in all that is read here.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from sharedllm.base.conversations import ChatTurn, learned_ids
from sharedllm.base.tokens import Tokens
from sharedllm.cache_folder import fetch_package
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import row_losses, spread
from sharedllm.operations.workplace import Workplace
from sharedllm.reporting.environment import describe
from sharedllm.text.people import CHATS
from sharedllm.text.repeats import Repeats
from sharedllm.text.windows import Ids, TokenizedText, windows
from sharedllm.training.recipes import RECIPES, tuned
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "short_turns.json"
BASE = "smollm2-135m-people"
PEOPLE = ("5e5f6bde", "9c569478", "842e34da")
"""Of those whom the prior never saw, who have the largest shares of short turns that recur."""

OWN, VALIDATION, HELDOUT = 10_000, 4_000, 12_000
"""Characters of theirs to learn, to choose the step by, and to judge by: whole chats."""

SHORT = 40
STEPS, WINDOW, WINDOWS = 64, 256, 32

Chat = list[ChatTurn]


def main() -> None:
    recipe = replace(tuned(RECIPES["default"], steps=STEPS), check_every=STEPS // 4)
    result: dict[str, Any] = {"environment": describe(), "base": BASE, "recipe": recipe.as_dict(), "people": {}}
    with tempfile.TemporaryDirectory() as folder, Workplace(BASE, folder=Path(folder)) as place:
        for person in PEOPLE:
            train, validation, heldout = blocks(conversations(person))
            every = ids(place.tokens, train)
            texts = {
                "every turn": every,
                "once": without(every, recurring(train)),
                "validation": ids(place.tokens, validation),
                "heldout": ids(place.tokens, heldout),
            }
            anywhere = [said(turn) for turn in own([*train, *validation, *heldout])]
            often = {words for words, count in Counter(anywhere).items() if count > 1 and len(words) <= SHORT}
            texts["new"] = without(texts["heldout"], [said(turn) in often for turn in own(heldout)])
            result["people"][person] = _measured(place, recipe, texts) | {
                "turns": len(own(train)),
                "recurring": sum(recurring(train)),
                "heldout_turns": len(own(heldout)),
                "heldout_recurring": sum(said(turn) in often for turn in own(heldout)),
                "learned_tokens": {name: int((each >= 0).sum()) for name, each in texts.items()},
            }
            print(person, json.dumps(result["people"][person]), flush=True)
            RESULT.write_text(json.dumps(result, indent=1) + "\n")


def _measured(place: Workplace, recipe: Any, texts: dict[str, Ids]) -> dict[str, Any]:
    chosen_by = windows(texts["validation"], WINDOW)
    none = np.empty((0, WINDOW), np.int64)
    arms = [
        TokenizedText(name, texts[name], chosen_by, none, name, Repeats(0, 0.0, ())) for name in ("every turn", "once")
    ]
    injection = place.injection(recipe.method)
    rows: dict[str, Any] = {"base": np.zeros(injection.layout.size, np.float32)}
    steps = {}
    for trained in train_vectors(place.base, injection, arms, recipe, curvature=place.curvature(recipe)):
        if trained.adapter is None:
            raise SystemExit(str(trained.error))
        rows[trained.user] = trained.adapter.values
        steps[trained.user] = trained.losses
    found: dict[str, Any] = {"validation": steps}
    for judged in ("heldout", "new"):
        read = row_losses(
            place.base, injection, np.stack(list(rows.values())), spread(windows(texts[judged], WINDOW), WINDOWS)
        )
        losses = dict(zip(rows, read, strict=True))
        found[judged] = {
            "perplexity": {name: each.perplexity for name, each in losses.items()},
            "over_base": {name: improvement(losses["base"], losses[name]).as_dict() for name in steps},
            "once_over_every": improvement(losses["every turn"], losses["once"]).as_dict(),
        }
    return found


def conversations(person: str) -> list[Chat]:
    """The chats in which somebody wrote, the oldest first: theirs as the assistant's, others' as the user's."""
    with ZipFile(fetch_package(CHATS)) as wheel:
        everything = json.loads(wheel.read("chitchat_dataset/dataset.json")).values()
    found: list[Chat] = []
    for each in sorted(everything, key=lambda each: str(each["start"])):
        messages = [message for turn in each["messages"] for message in turn if message["text"].strip()]
        turns = [
            ChatTurn("assistant" if author.startswith(person) else "user", "\n".join(m["text"].strip() for m in of))
            for author, of in groupby(messages, key=lambda message: str(message["sender"]))
        ]
        if own([turns]):
            found.append(turns)
    return found


def own(chats: Sequence[Chat]) -> list[ChatTurn]:
    return [turn for chat in chats for turn in chat if turn.role == "assistant"]


def said(turn: ChatTurn) -> str:
    return " ".join(turn.text.casefold().split())


def recurring(chats: Sequence[Chat]) -> list[bool]:
    """Of every turn of theirs whether it is short and was said before."""
    seen: set[str] = set()
    found = []
    for words in map(said, own(chats)):
        found.append(len(words) <= SHORT and words in seen)
        seen.add(words)
    return found


def blocks(chats: Sequence[Chat]) -> tuple[Sequence[Chat], Sequence[Chat], Sequence[Chat]]:
    """The chats in a row in which the most short turns recur, those after them, and those after these."""
    sizes = [sum(len(turn.text) for turn in own([chat])) for chat in chats]

    def end(begin: int, characters: int) -> int:
        total = 0
        while begin < len(chats) and total < characters:
            total += sizes[begin]
            begin += 1
        return begin

    def starts() -> Iterator[tuple[int, int]]:
        for begin in range(len(chats)):
            last = end(begin, OWN)
            if sum(sizes[last:]) < VALIDATION + HELDOUT:
                return
            yield sum(recurring(chats[begin:last])), -begin

    begin = -max(starts())[1]
    first = end(begin, OWN)
    second = end(first, VALIDATION)
    return chats[begin:first], chats[first:second], chats[second : end(second, HELDOUT)]


def ids(tokens: Tokens, chats: Sequence[Chat]) -> Ids:
    return np.concatenate([np.array(learned_ids(tokens, chat), np.int32) for chat in chats])


def without(learned: Ids, turns: Sequence[bool]) -> Ids:
    """The ids with these turns of theirs only read: each turn is a run of ids that are predicted."""
    begins = np.diff(np.concatenate([[0], (learned >= 0).astype(np.int8)])) == 1
    number = np.cumsum(begins) - 1
    if int(begins.sum()) != len(turns):
        raise SystemExit("the turns are not the runs of what is predicted")
    dropped = (learned >= 0) & np.asarray(turns)[np.maximum(number, 0)]
    return np.where(dropped, ~learned, learned)


if __name__ == "__main__":
    main()
