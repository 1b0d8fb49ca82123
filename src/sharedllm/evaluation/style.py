"""How far what a model writes is from how a person writes: Burrows's Delta over simple, stated features.

Delta (Burrows 2002, "Delta: a Measure of Stylistic Difference", section 2) is the mean, over features, of the absolute
difference between two texts, each feature standardised by its mean and standard deviation over a reference of many
people:

    delta(a, b) = mean over features f of |z_f(a) - z_f(b)|,   z_f(t) = (f(t) - mean_f) / deviation_f

The features are the shares of the reference's most frequent words, which nobody chose and which are function words for
the most part; how often its most frequent signs stand, by character; and the lengths of words, sentences and lines,
the latter two as logarithms. 0 is no difference; two people of the reference differ by about 1.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput
from sharedllm.evaluation.intervals import Estimate, resampled, resampled_sums
from sharedllm.evaluation.words import words

SHIPPED = Path(__file__).with_name("style_reference.json")
"""Made by ``benchmarks/style_reference.py`` of several hundred public people."""

WORDS, SIGNS = 100, 20
"""Of the most frequent, that are features."""

LEAST_COVERED = 0.1
"""Of the words of a text, that the reference's most frequent ones have to be: else it is in another language."""

_RESAMPLES = 2_000
_SENTENCE = re.compile(r"[.!?。！？…]+|\n")
_TOTALS = 5

Tally = npt.NDArray[np.float64]
"""How often each word and sign of a reference stands in a text, and its words, characters, characters in words,
sentences and lines: float64 ``[words + signs + 5]``. That of several texts is their sum."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What people's texts are standardised by.

    Attributes:
        words: the most frequent, in lower case.
        signs: the most frequent characters that are neither of words nor white space.
        mean: of each feature over people, float64 ``[words + signs + 3]``.
        deviation: likewise; 0 where all are alike, and the feature says nothing.
        people: how many.
    """

    words: Sequence[str]
    signs: Sequence[str]
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    people: int

    @staticmethod
    def of(texts: Iterable[str]) -> "Reference":
        """The reference of a text of each person; everybody counts alike, however much they wrote.

        Raises:
            InvalidInput: there are fewer than two people with words.
        """
        shares: Counter[str] = Counter()
        signed: Counter[str] = Counter()
        kept = []
        for text in texts:
            found = Counter(text[each].lower() for each in words(text))
            if not found:
                continue
            kept.append(text)
            total = found.total()
            for word, count in found.items():
                shares[word] += count / total  # type: ignore[assignment]
            for sign, count in Counter(text).items():
                if _is_sign(sign):
                    signed[sign] += count / len(text)  # type: ignore[assignment]
        if len(kept) < 2:
            raise InvalidInput(
                f"{len(kept)} texts with words are no reference to standardise by", remedy="Give many people's."
            )
        chosen = _most(shares, WORDS), _most(signed, SIGNS)
        empty = np.zeros(len(chosen[0]) + len(chosen[1]) + 3)
        bare = Reference(*chosen, empty, empty, len(kept))
        features = bare.features(np.stack([bare.tally(text) for text in kept]))
        return Reference(*chosen, features.mean(axis=0), features.std(axis=0, ddof=1), len(kept))

    def tally(self, text: str) -> Tally:
        """Count what is compared in a text."""
        found = Counter(text[each].lower() for each in words(text))
        characters = Counter(text)
        sentences = sum(bool(each.strip()) for each in _SENTENCE.split(text))
        lines = sum(bool(each.strip()) for each in text.split("\n"))
        letters = sum(len(word) * count for word, count in found.items())
        totals = [found.total(), len(text), letters, sentences, lines]
        return np.array([*(found[each] for each in self.words), *(characters[each] for each in self.signs), *totals])

    def features(self, tallies: Tally) -> npt.NDArray[np.float64]:
        """Features of texts, float64 ``[texts, words + signs + 3]``, from their tallies ``[texts, …]``."""
        counts, totals = tallies[:, :-_TOTALS], np.maximum(tallies[:, -_TOTALS:], 1)
        number, characters, letters, sentences, lines = totals.T
        return np.column_stack(
            [
                counts[:, : len(self.words)] / number[:, None],
                counts[:, len(self.words) :] / characters[:, None],
                letters / number,
                np.log(number / sentences),
                np.log(characters / lines),
            ]
        )

    def covered(self, tally: Tally) -> float:
        """The share of a text's words that are among the reference's."""
        return float(tally[: len(self.words)].sum() / max(tally[-_TOTALS], 1))

    def delta(self, these: Tally, those: Tally) -> npt.NDArray[np.float64]:
        """Burrows's Delta between texts, pair by pair, float64 ``[pairs]``, from tallies ``[pairs, …]`` of each."""
        apart = np.abs(self.features(these) - self.features(those))[:, self._telling]
        found: npt.NDArray[np.float64] = (apart / self.deviation[self._telling]).mean(axis=1)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "words": list(self.words),
            "signs": list(self.signs),
            "mean": [float(f"{each:.5g}") for each in self.mean],
            "deviation": [float(f"{each:.5g}") for each in self.deviation],
            "people": self.people,
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> "Reference":
        """Read back what `as_dict` gave."""
        mean, deviation = (np.array(stored[name], np.float64) for name in ("mean", "deviation"))
        return Reference(tuple(stored["words"]), tuple(stored["signs"]), mean, deviation, stored["people"])

    @cached_property
    def _telling(self) -> npt.NDArray[np.bool_]:
        telling: npt.NDArray[np.bool_] = self.deviation > 0
        return telling


@cache
def shipped_reference() -> Reference:
    """The reference that ships, of the public people listed for the prior."""
    return Reference.from_dict(json.loads(SHIPPED.read_text(encoding="utf-8")))


def distance(
    reference: Reference, real: Sequence[str], written: Sequence[str], instead: Sequence[str] | None = None
) -> Estimate | None:
    """Burrows's Delta between what a person wrote and what was written in its place, all of it together.

    The interval is by a bootstrap over the places. With fewer words a Delta is larger, whoever wrote them, so that only
    those of as much text can be compared.

    Args:
        reference: to standardise by.
        real: what the person wrote, place by place.
        written: what a model wrote there.
        instead: what another model wrote there; the estimate is then how much nearer to the person this is, the first
            Delta less the second, on the same draws of places.

    Returns:
        None where the text has too few of the reference's words, as one in another language has.

    Raises:
        InvalidInput: there are not as many places of each, or fewer than two.
    """
    given = [real, written] if instead is None else [real, written, instead]
    if len({len(each) for each in given}) > 1 or len(real) < 2:
        raise InvalidInput(
            f"Texts at {', '.join(str(len(each)) for each in given)} places cannot be compared",
            remedy="Give one of each at every place, and two places at least.",
        )
    tallies = [np.stack([reference.tally(text) for text in texts]) for texts in given]
    if reference.covered(tallies[0].sum(axis=0)) < LEAST_COVERED:
        return None
    sums = resampled_sums(*tallies, resamples=_RESAMPLES)
    theirs, *others = (np.vstack([each.sum(axis=0), drawn]) for each, drawn in zip(tallies, sums, strict=True))
    deltas = [reference.delta(theirs, each) for each in others]
    found = deltas[0] if instead is None else deltas[0] - deltas[1]
    return resampled(float(found[0]), found[1:], len(real))


def _is_sign(character: str) -> bool:
    return not (character.isspace() or words(character))


def _most(shares: "Counter[str]", count: int) -> tuple[str, ...]:
    # Among equals by the alphabet, so that the same people make the same reference.
    return tuple(sorted(shares, key=lambda each: (-shares[each], each))[:count])
