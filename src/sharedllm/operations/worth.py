"""What an adapter is worth to its person beside perplexity: words foretold, keystrokes saved, and style."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sharedllm.adapters.formats.registry import DEFAULT_FORMAT
from sharedllm.operations.ask import Row, generate
from sharedllm.operations.workplace import Bar, no_bar
from sharedllm.serving.request import DEFAULT_SAMPLING

if TYPE_CHECKING:
    from sharedllm.base.loading import Base
    from sharedllm.evaluation.intervals import Estimate
    from sharedllm.evaluation.perplexity import Losses, Windows
    from sharedllm.evaluation.prediction import Counts, Predicted
    from sharedllm.evaluation.replies import Replies
    from sharedllm.evaluation.style import Reference

WorthReader = str | None
"""Whose row; None is the base."""

Measure = Literal[
    "bits_per_character", "next_word_1", "next_word_3", "saved_1", "saved_3", "style", "reply_bits", "reply_chosen"
]
MEASURES: tuple[Measure, ...] = get_args(Measure)

FORETOLD = 8
"""Windows whose words are foretold by default; half an hour's typing or so."""


@dataclass(frozen=True, eq=False)
class Worth:
    """What every reader made of one person's windows.

    Attributes:
        losses: by reader.
        characters: that each window's predicted tokens stand for, int64 ``[windows]``.
        predicted: by reader, of as many of these windows as were foretold; none where it was not asked for.
        real: what the person wrote in the second half of each window that is all their own.
        written: by reader, what it writes there; none where it was not asked for.
        reference: that styles are standardised by.
        replies: by reader, losses of the person's own replies and of others' in the same places; none of text that is
            no conversation.
        reply_characters: of both, int64 ``[places]``.
    """

    losses: "Mapping[WorthReader, Losses]"
    characters: "Counts"
    predicted: "Mapping[WorthReader, Predicted]"
    real: Sequence[str]
    written: Mapping[WorthReader, Sequence[str]]
    reference: "Reference | None"
    replies: "Mapping[WorthReader, tuple[Losses, Losses]]" = field(default_factory=dict)
    reply_characters: "tuple[Counts, Counts] | None" = None

    def of(
        self, measure: Measure, reader: WorthReader, over: WorthReader | Literal[False] = False
    ) -> "Estimate | None":
        """A measure of a reader, or by how much it is higher than another's, on the same windows or places.

        Of bits and of style less is better, of the others more. Of replies, ``reply_bits`` are bits per character of
        the person's own, and ``reply_chosen`` is the share of places where they have fewer than somebody else's.

        Args:
            measure: which.
            reader: whose row; None is the base.
            over: the other's; False for none.

        Returns:
            None where it was not measured or says nothing: keystrokes of a text in a script whose characters are
            composed, style of one in a language that the reference does not know.
        """
        from sharedllm.evaluation.intervals import ratio

        if measure == "bits_per_character":
            return ratio(self._bits(reader), self.characters, None if over is False else self._bits(over))
        if measure == "style":
            return self._style(reader, over)
        if measure in ("reply_bits", "reply_chosen"):
            return self._replies(measure, reader, over)
        if reader not in self.predicted:
            return None
        mine, theirs = self.predicted[reader], None if over is False else self.predicted[over]
        kind, _, suggestions = measure.rpartition("_")
        number = int(suggestions) - 1
        if kind == "next_word":
            return ratio(mine.hits[:, number], mine.words, None if theirs is None else theirs.hits[:, number])
        if not mine.types:
            return None
        saved = mine.keys - mine.typed[:, number]
        return ratio(saved, mine.keys, None if theirs is None else theirs.keys - theirs.typed[:, number])

    def as_dict(self) -> list[dict[str, Any]]:
        """Plain JSON values: every measure of each reader, None being the base, and how much higher than the base's."""
        return [
            {"reader": reader}
            | {
                measure: {
                    "value": _told(self.of(measure, reader)),
                    "over_base": None if reader is None else _told(self.of(measure, reader, None)),
                }
                for measure in MEASURES
            }
            for reader in self.losses
        ]

    def _bits(self, reader: WorthReader) -> Any:
        return self.losses[reader].nats / math.log(2)

    def _replies(self, measure: Measure, reader: WorthReader, over: WorthReader | Literal[False]) -> "Estimate | None":
        from sharedllm.evaluation.intervals import ratio

        if reader not in self.replies or self.reply_characters is None:
            return None
        own, other = self.reply_characters

        def part(of: WorthReader) -> Any:
            mine, theirs = self.replies[of]
            bits = mine.nats / math.log(2)
            return bits if measure == "reply_bits" else mine.nats * other < theirs.nats * own

        return ratio(part(reader), own if measure == "reply_bits" else own > 0, None if over is False else part(over))

    def _style(self, reader: WorthReader, over: WorthReader | Literal[False]) -> "Estimate | None":
        from sharedllm.evaluation.style import distance

        if reader not in self.written or self.reference is None or len(self.real) < 2:
            return None
        if over is False:
            return distance(self.reference, self.real, self.written[reader])
        return distance(self.reference, self.real, self.written[reader], self.written[over])


def measure_worth(
    base: "Base",
    rows: Mapping[WorthReader, Row | None],
    losses: "Mapping[WorthReader, Losses]",
    windows: "Windows",
    *,
    format: str = DEFAULT_FORMAT,
    foretold: int = FORETOLD,
    reference: "Reference | None" = None,
    replies: "tuple[Replies, Mapping[WorthReader, tuple[Losses, Losses]]] | None" = None,
    seed: int = 0,
    bar: Bar = no_bar,
) -> Worth:
    """Measure what several rows are worth on one person's held-out windows.

    Nothing else may use the base's model meanwhile; afterwards it is as it was.

    Args:
        base: the base model.
        rows: by reader, float32 ``[P]``, float16 deviations as the store returns them; None is the base.
        losses: of these readers on these windows.
        windows: int64 ``[n, window]``, what was written by others as ``~id``.
        format: of the rows.
        foretold: in how many of the windows, evenly spaced, words are foretold; 0 for bits per character alone.
        reference: that styles are standardised by; None does not write on.
        replies: the person's and others' in the same places, and the losses of these readers on both.
        seed: of what is written; every reader's is drawn from the same noise.
        bar: told how far it is.

    Raises:
        InvalidInput, UnsupportedBase, EngineStopped: see `Branches` and `generate`.
    """
    from sharedllm.evaluation.perplexity import spread
    from sharedllm.evaluation.prediction import characters, predict
    from sharedllm.evaluation.suggestions import LOOKS, spelling_of
    from sharedllm.serving.branches import Branches

    first = base.tokens.unpredicted
    spelling = spelling_of(base)
    counted = characters(spelling, windows, first)
    if not foretold:
        return Worth(losses, counted, {}, [], {}, None)
    # Nobody goes on with what others said.
    openings = [window.tolist() for window in windows if (window >= 0).all()]
    half = windows.shape[1] // 2
    real = [base.decode(each[half:]) for each in openings]
    written: dict[WorthReader, Sequence[str]] = {}
    if reference is not None and openings:
        prompts = [(each[:half], row) for row in rows.values() for each in openings]
        drawn = replace(DEFAULT_SAMPLING, seed=seed)
        with bar("writing", len(prompts)) as advance:
            texts = generate(base, prompts, max_tokens=windows.shape[1] - half, sampling=drawn, format=format)
            advance(len(prompts))
        written = {reader: texts[at * len(real) :][: len(real)] for at, reader in enumerate(rows)}
    with (
        bar("foretelling words", foretold) as advance,
        Branches(base, list(rows.values()), windows.shape[1] + LOOKS, format=format) as branches,
    ):
        found = predict(branches, spelling, spread(windows, foretold), first=first, on_window=advance)
    predicted = dict(zip(rows, found, strict=True))
    if replies is None:
        return Worth(losses, counted, predicted, real, written, reference)
    places, compared = replies
    replied = characters(spelling, places.own, first), characters(spelling, places.other, first)
    return Worth(losses, counted, predicted, real, written, reference, compared, replied)


def _told(estimate: "Estimate | None") -> dict[str, Any] | None:
    return None if estimate is None else estimate.as_dict()
