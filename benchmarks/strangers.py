"""Somebody unknown: is a mixture over a few clusters' rows better than the prior, after the first tokens they write?

    python -m benchmarks.strangers people.jsonl strangers.jsonl kept/ --base FOLDER

People (JSON lines with user, kind and text) are trained a row each, and the rows put in clusters; each cluster has its
people's mean row, and a row trained on their pooled text. Strangers, none of whom is among them, are read under every
one of these and under none, a conversation at a time. What was trained and read is kept in the folder, and the same
command goes on from it; the result is written when all is there.

Readers of a conversation, each after the first 0, 32, 64, 128 and 256 tokens, on what comes then:

- ``nothing``: no row, which on a base with a prior is the prior.
- ``nearest``: the one row, none among them, under which the tokens so far were likeliest.
- ``bayes``, ``soft-bayes``: mixtures of all, none among them, whose weights have learnt from the tokens so far.
- ``hindsight``: the best fixed mixture of the whole conversation, which nobody can know beforehand.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.adapter_file import load_adapter, save_adapter
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import layout_of
from sharedllm.base.loading import Base, load_base
from sharedllm.combining.clusters import cluster, cluster_means, pooled
from sharedllm.combining.mixture import bayesian_mixture, best_fixed_mixture, soft_bayes, soft_bayes_rate
from sharedllm.evaluation.intervals import improvement
from sharedllm.evaluation.perplexity import Losses, spread, token_log_probabilities
from sharedllm.files import replacing
from sharedllm.reporting.environment import describe
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, text_windows, tokenize
from sharedllm.training.checkpoints import Checkpoints
from sharedllm.training.recipes import RECIPES, Recipe
from sharedllm.training.vectors import train_vectors

RESULT = Path(__file__).parent / "results" / "strangers.json"
AFTER = (0, 32, 64, 128, 256)
CONVERSATION = 512
CHARACTERS = 100_000
"""Of a person's text that are read at all, so that nobody is trained on much more than the others."""

Predictions = npt.NDArray[np.float64]
"""Natural-log probabilities of one conversation's tokens, float64 ``[rows, tokens]``, the first row nobody's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, help="who is trained")
    parser.add_argument("strangers", type=Path, help="who is read")
    parser.add_argument("folder", type=Path, help="where everything is kept meanwhile")
    parser.add_argument("--base", default="smollm2-135m", help="a name or a folder")
    parser.add_argument("--known", type=int, default=12, help="how many people are trained")
    parser.add_argument("--unknown", type=int, default=10, help="how many strangers are read")
    parser.add_argument("--conversations", type=int, default=4, help="how many of each stranger")
    parser.add_argument("--steps", type=int, default=50, help="of training a row")
    arguments = parser.parse_args()
    base = load_base(arguments.base)
    recipe = replace(RECIPES["adamw"], steps=arguments.steps, check_every=0)
    known = chosen(arguments.people, arguments.known, 60_000)
    strangers = chosen(arguments.strangers, arguments.unknown, 8 * CONVERSATION * arguments.conversations)
    shop = Shop(base, recipe, arguments.folder)
    rows, clusters = shop.rows(known)
    read = {person["user"]: shop.read(person, rows, arguments.conversations) for person in strangers}
    result = {
        "environment": describe(),
        "base": {"fingerprint": base.fingerprint, "prior": base.has_prior},
        "recipe": recipe.as_dict(),
        "clusters": clusters,
        "conversation_tokens": CONVERSATION,
        "rows": {name: summary({user: found[name] for user, found in read.items()}) for name in rows},
    }
    with replacing(RESULT) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")


def chosen(path: Path, count: int, characters: int) -> list[dict[str, str]]:
    """So many of a file's people who wrote so much, of each kind in turn, in the order of their names' hashes."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        person = json.loads(line)
        if len(person["text"]) >= characters:
            kinds.setdefault(person["kind"], []).append(person)
    for people in kinds.values():
        people.sort(key=lambda person: hashlib.sha256(person["user"].encode()).hexdigest())
    longest = max(map(len, kinds.values()), default=0)
    turns = [people[turn] for turn in range(longest) for people in kinds.values() if turn < len(people)]
    return turns[:count]


class Shop:
    """What is trained and read, kept in a folder."""

    def __init__(self, base: Base, recipe: Recipe, folder: Path) -> None:
        self._base, self._recipe = base, recipe
        self._injection = Injection(base, layout_of(base, recipe.method))
        # Of another base or recipe nothing is used again.
        key = hashlib.sha256(json.dumps([base.fingerprint, recipe.as_dict()]).encode()).hexdigest()[:16]
        self._folder = folder / key
        self._folder.mkdir(parents=True, exist_ok=True)

    def rows(self, people: Sequence[Mapping[str, str]]) -> tuple[dict[str, npt.NDArray[np.float32]], list[list[str]]]:
        """The clusters' rows of both kinds, each with nobody's row first, and who is in which."""
        texts = [self._tokenized(person) for person in people]
        table = np.stack(list(self._trained(texts)))
        labels = cluster(table)
        groups = [np.flatnonzero(labels == number).tolist() for number in range(labels.max() + 1)]
        whole = [pooled(f"cluster {number}", [texts[at] for at in group]) for number, group in enumerate(groups)]
        nobody = np.zeros((1, table.shape[1]), np.float32)
        found = {"mean": cluster_means(table, labels), "trained": np.stack(list(self._trained(whole)))}
        named = [[texts[at].user for at in group] for group in groups]
        return {name: np.concatenate([nobody, of_clusters]) for name, of_clusters in found.items()}, named

    def read(
        self, person: Mapping[str, str], rows: Mapping[str, npt.NDArray[np.float32]], count: int
    ) -> dict[str, dict[str, list[list[float]]]]:
        """By kind of row, what every reader makes of a stranger's conversations; see `readers`."""
        digest = hashlib.sha256(person["text"].encode())
        for name in rows:
            digest.update(rows[name].tobytes())
        path = self._folder / f"{digest.hexdigest()[:16]}-{count}.json"
        if not path.is_file():
            print("reading", person["user"], file=sys.stderr)
            conversations = spread(text_windows(person["text"][:CHARACTERS], self._base.encode, CONVERSATION), count)
            found: dict[str, dict[str, list[list[float]]]] = {}
            for name, table in rows.items():
                read = token_log_probabilities(self._base, self._injection, table, conversations)
                several = [readers(read[:, at], self._base.tokens.unpredicted) for at in range(len(conversations))]
                found[name] = {reader: [each[reader] for each in several] for reader in several[0]}
            with replacing(path) as part:
                part.write_text(json.dumps(found))
        kept: dict[str, dict[str, list[list[float]]]] = json.loads(path.read_text())
        return kept

    def _tokenized(self, person: Mapping[str, str]) -> TokenizedText:
        split = split_text(person["text"][:CHARACTERS], user=person["user"])
        return tokenize(person["user"], split, self._base.encode, window=self._recipe.window)

    def _trained(self, texts: Sequence[TokenizedText]) -> Iterator[npt.NDArray[np.float32]]:
        for text in texts:
            path = self._folder / f"{text.sha256[:16]}.safetensors"
            if not path.is_file():
                print("training", text.user, file=sys.stderr)
                kept = Checkpoints(self._folder / "unfinished", self._base.fingerprint)
                (trained,) = train_vectors(self._base, self._injection, [text], self._recipe, checkpoints=kept)
                if trained.adapter is None:
                    raise SystemExit(f"{text.user} was not trained: {trained.error}")
                with replacing(path) as part:
                    save_adapter(trained.adapter, part)
            yield load_adapter(path).values


def readers(predictions: Predictions, first: int) -> dict[str, list[float]]:
    """Nats that each reader needs for what comes after the first tokens of one conversation, one for each of `AFTER`.

    Args:
        predictions: of the conversation.
        first: how many tokens had no prediction, since nothing was before them.
    """
    rows, tokens = predictions.shape
    soft = soft_bayes(predictions, soft_bayes_rate(rows, tokens)).log_probabilities
    bayes = bayesian_mixture(predictions[0], predictions[1:]).log_probabilities
    best = np.log(np.maximum(best_fixed_mixture(predictions), np.finfo(float).tiny))
    hindsight = np.logaddexp.reduce(best[:, None] + predictions, axis=0)
    found: dict[str, list[float]] = {"nothing": [], "nearest": [], "bayes": [], "soft-bayes": [], "hindsight": []}
    for after in AFTER:
        seen = max(0, after - first)
        nearest = predictions[:, :seen].sum(axis=1).argmax()
        told = predictions[0], predictions[nearest], bayes, soft, hindsight
        for name, of_reader in zip(found, told, strict=True):
            found[name].append(float(-of_reader[seen:].sum()))
    return found


def summary(read: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> dict[str, Any]:
    """Of readings by stranger: perplexity after so many tokens, and how far it is below nothing's, over people.

    A person's gain is of their mean loss over conversations, and people count the same.
    """
    readings = next(iter(read.values()))
    found: dict[str, Any] = {"raw": read, "readers": {}}
    for reader in readings:
        found["readers"][reader] = {}
        for place, after in enumerate(AFTER):
            left = CONVERSATION - max(after, 1)
            nats = {
                name: Losses(np.array([_mean(of[name], place) for of in read.values()]), left)
                for name in ("nothing", reader)
            }
            gain = improvement(nats["nothing"], nats[reader])
            harmed = (nats[reader].nats - nats["nothing"].nats) / left > math.log(1.01)
            found["readers"][reader][str(after)] = {
                "perplexity": nats[reader].perplexity,
                "gain": gain.as_dict(),
                "harmed_by_more_than_1_percent": int(harmed.sum()),
            }
    return found


def _mean(conversations: Sequence[Sequence[float]], place: int) -> float:
    return float(np.mean([conversation[place] for conversation in conversations]))


if __name__ == "__main__":
    main()
