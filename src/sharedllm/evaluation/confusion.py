"""Everybody's text read with everybody's adapter: the measurement that tells personalisation from a better base."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sharedllm.adapters.injection import Injection
from sharedllm.base.loading import Base
from sharedllm.errors import InvalidInput, MissingExtra
from sharedllm.evaluation.intervals import Interval, improvement
from sharedllm.evaluation.perplexity import Losses, Windows, known_counts, plain_counts, row_losses

_SHOWN = 8

BASE = None
"""The reader that is no user: the base itself."""


@dataclass(frozen=True)
class Margins:
    """How much lower the own adapter's perplexity is than others' on the same text, ``1 - own / other``.

    The three ways of naming "the others" answer different questions, so none of them goes without its name.

    Attributes:
        mean: against the mean of the others' perplexities.
        best: against the best of the others and the base, whichever is better: the honest bar. Where every other
            person's adapter is worse than the base, to beat the best of them would be easier than to help at all.
        worst: against the worst other.
    """

    mean: float
    best: float
    worst: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """Losses of every reader on every text.

    Attributes:
        losses: by whose text is read, then by whose adapter reads it; the reader None is the base.
    """

    losses: Mapping[str, Mapping[str | None, Losses]]

    def __repr__(self) -> str:
        lines = ["perplexity on held-out text by user, lower is better"]
        for text, losses in islice(self.losses.items(), _SHOWN):
            read = [
                f"{'the base' if reader is BASE else repr(reader)} {each.perplexity:.2f}"
                for reader, each in islice(losses.items(), _SHOWN)
            ]
            more = [f"and {len(losses) - _SHOWN:,} more"] if len(losses) > _SHOWN else []
            lines.append(f"  {text!r} read by {', '.join(read + more)}")
        if len(self.losses) > _SHOWN:
            lines.append(f"  and {len(self.losses) - _SHOWN:,} more")
        return "\n".join(lines)

    @property
    def texts(self) -> list[str]:
        """Whose texts were read: the rows."""
        return list(self.losses)

    @property
    def readers(self) -> list[str | None]:
        """Whose adapters read them: the columns, the base first."""
        return list(next(iter(self.losses.values())))

    def perplexity(self, text: str, reader: str | None) -> float:
        """Of one reader on one text: ``exp(nats / predicted tokens)`` over all of its windows, 1 or more.

        Args:
            text: whose text.
            reader: whose adapter; None is the base.
        """
        return self.losses[text][reader].perplexity

    def improvement(self, text: str, reader: str | None, over: str | None = BASE) -> Interval:
        """How much lower one reader's perplexity is than another's on one text, paired per window.

        Args:
            text: whose text.
            reader: whose adapter; None is the base.
            over: the other; by default the base.

        Returns:
            The fraction ``1 - perplexity / other's`` as ``estimate``, and its 95 % interval as ``low`` and ``high``.

        Raises:
            InvalidInput: there are fewer than two windows, or a loss is not finite.
        """
        return improvement(self.losses[text][over], self.losses[text][reader])

    def rival(self, user: str) -> str | None:
        """Who, but for the user's own adapter, reads their text best: another user, or the base."""
        return min((reader for reader in self.readers if reader != user), key=lambda each: self.perplexity(user, each))

    def margins(self, user: str) -> Margins | None:
        """Of a user's own adapter over the other users' on that user's text; None where there are no others."""
        others = [self.perplexity(user, reader) for reader in self.readers if reader not in (BASE, user)]
        if not others:
            return None
        own = self.perplexity(user, user)
        best = self.perplexity(user, self.rival(user))
        return Margins(*(1 - own / other for other in (float(np.mean(others)), best, max(others))))

    def to_frame(self, of: Literal["perplexity", "improvement"] = "perplexity") -> Any:
        """The matrix as a pandas float64 ``DataFrame``: rows are texts, columns readers, the base first, as ``base``.

        Args:
            of: ``perplexity``, or ``improvement``, how much lower it is than the base's on the same text as a fraction.

        Raises:
            MissingExtra: pandas is not installed.
            InvalidInput: it is of neither.
        """
        if of not in ("perplexity", "improvement"):
            raise InvalidInput(f"There is no frame of {of!r}", remedy="Use perplexity or improvement.")
        try:
            # By its name alone: nothing of ours needs it, and no extra brings it.
            pandas = import_module("pandas")
        except ImportError as error:
            raise MissingExtra(
                "A data frame needs what is not installed here: pandas", remedy="Install it: pip install pandas"
            ) from error
        readers = ["base" if reader is BASE else reader for reader in self.readers]
        table = np.array([[self.perplexity(text, reader) for reader in self.readers] for text in self.texts])
        if of == "improvement":
            table = 1 - table / table[:, :1]
        return pandas.DataFrame(table, pandas.Index(self.texts, name="text"), pandas.Index(readers, name="reader"))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, perplexities and per-window losses; the base is the first reader."""
        return {
            "texts": self.texts,
            "readers": ["base" if reader is BASE else reader for reader in self.readers],
            "perplexity": [[self.perplexity(text, reader) for reader in self.readers] for text in self.texts],
            "tokens_per_window": {text: plain_counts(self.losses[text][BASE].tokens) for text in self.texts},
            "window_nats": [
                [self.losses[text][reader].nats.tolist() for reader in self.readers] for text in self.texts
            ],
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> "Confusion":
        """Read back what `as_dict` gave."""
        readers = [BASE, *stored["readers"][1:]]
        return Confusion(
            {
                text: {
                    reader: Losses(np.array(nats), known_counts(stored["tokens_per_window"][text]))
                    for reader, nats in zip(readers, row, strict=True)
                }
                for text, row in zip(stored["texts"], stored["window_nats"], strict=True)
            }
        )


def confusion(
    base: Base,
    injection: Injection,
    adapters: Mapping[str, npt.NDArray[np.float32]],
    texts: Mapping[str, Windows],
    *,
    on_batch: Callable[[int], Any] | None = None,
) -> Confusion:
    """Measure the base and every adapter on every text.

    Args:
        base: the base model.
        injection: of the adapters' layout, attached to it.
        adapters: float32 ``[P]`` by user.
        texts: int64 ``[windows, tokens]`` by user; what is read and never predicted is the complement of its id.
        on_batch: told how many (reader, window) pairs a batch finished.
    """
    table = np.stack([np.zeros(injection.layout.size, np.float32), *adapters.values()])
    readers = [BASE, *adapters]
    return Confusion(
        {
            user: dict(zip(readers, row_losses(base, injection, table, windows, on_batch=on_batch), strict=True))
            for user, windows in texts.items()
        }
    )
