"""What a bet runs on: the base, everybody's text, and adapters that are made once and reused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.catalogue.protocols import FULL, STEPS, Protocol, Size
from experiments.catalogue.specialists import Copy, Row, Workshop, baseline, vector
from sharedllm.adapters.injection import Injection
from sharedllm.adapters.layouts import Layout, layout_of
from sharedllm.base.loading import Base
from sharedllm.evaluation.perplexity import Losses, Windows, base_losses, row_losses, spread, token_log_probabilities
from sharedllm.text.samples import sample_text
from sharedllm.text.splits import split_text
from sharedllm.text.windows import TokenizedText, tokenize


class Context:
    """One run of one bet under one protocol.

    Attributes:
        base: the frozen base.
        users: whose adapters the bet is about.
        seeds: of the training.
        protocol: how adapters are trained.
        size: how much is read and trained.
        out: the folder of adapters.
        used: every adapter file the run has read, with what decided it.
    """

    def __init__(
        self,
        base: Base,
        users: tuple[str, ...],
        seeds: tuple[int, ...],
        protocol: Protocol,
        *,
        out: Path,
        size: Size = FULL,
        read_text: Callable[[str], str] = sample_text,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.base, self.users, self.seeds, self.protocol = base, users, seeds, protocol
        self.size, self.out, self.say = size, out, say
        self.used: dict[str, dict[str, Any]] = {}
        self._shop = Workshop(base, seeds, protocol, size, out, self.used, self.injection, say)
        self._read_text = read_text
        self._texts: dict[str, TokenizedText] = {}
        self._injections: dict[tuple[str, str], Injection] = {}

    def text(self, name: str) -> TokenizedText:
        """A sample user's text in tokens; its held-out block is what every method is measured on."""
        if name not in self._texts:
            self.say(f"reading the text of {name}")
            split = split_text(self._read_text(name), user=name)
            self._texts[name] = tokenize(name, split, self.base.encode, window=self.size.window)
        return self._texts[name]

    def keep(self, text: TokenizedText) -> TokenizedText:
        """Know a text that is no sample user's, such as a control's, under its own name."""
        return self._texts.setdefault(text.user, text)

    def texts(self) -> dict[str, TokenizedText]:
        """Every text of the run so far, by name."""
        return dict(self._texts)

    def heldout(self, name: str) -> Windows:
        """The windows that every reader of this text reads."""
        return spread(self.text(name).heldout, self.size.windows)

    def injection(self, format: str = "norm", base: Base | None = None) -> Injection:
        """Hooks of a format on a base, attached until `close`."""
        base = base or self.base
        key = base.fingerprint, format
        if key not in self._injections:
            self._injections[key] = Injection(base, layout_of(base, format))
        return self._injections[key]

    def layout(self, format: str = "norm") -> Layout:
        """Of a format on the base."""
        return self.injection(format).layout

    def adapter(
        self,
        user: str,
        method: str = "norm",
        *,
        seed: int | None = None,
        steps: int = STEPS,
        base: Base | None = None,
        number: str = "49",
    ) -> Row:
        """A user's vector in the precision it is stored in, from ``out`` or trained now.

        Args:
            user: whose text it is trained on.
            method: a vector format.
            seed: of the training; the run's first by default.
            steps: of the training.
            base: another base than the run's.
            number: of the bet whose file it is; those of bet 49 are everybody's.
        """
        return vector(self._shop, self.text(user), method, self._seed(seed), steps, base or self.base, number)

    def adapters(self, *, seed: int | None = None) -> dict[str, Row]:
        """Every user's own norm adapter."""
        return {user: self.adapter(user, seed=seed) for user in self.users}

    def copy(self, user: str, method: str, *, seed: int | None = None, number: str = "49") -> Copy:
        """A user's LoRA or full copy of the base, from ``out`` or trained now."""
        return baseline(self._shop, self.text(user), method, self._seed(seed), number)

    def read(
        self, text: str, rows: Mapping[str, Row], *, format: str = "norm", base: Base | None = None
    ) -> dict[str, Losses]:
        """Losses of vectors on a text's held-out windows, by the rows' names."""
        self.say(f"reading {text} with {', '.join(rows)}")
        base = base or self.base
        losses = row_losses(base, self.injection(format, base), self.table(rows), self.heldout(text))
        return dict(zip(rows, losses, strict=True))

    def read_tokens(self, text: str, rows: Mapping[str, Row]) -> npt.NDArray[np.float64]:
        """Log-probability of every predicted held-out token under vectors of norms, ``[rows, windows, tokens]``."""
        self.say(f"reading {text} with {', '.join(rows)}")
        return token_log_probabilities(self.base, self.injection(), self.table(rows), self.heldout(text))

    def read_plain(self, text: str, base: Base) -> Losses:
        """Losses of a model as it stands on a text's held-out windows."""
        self.say(f"reading {text} with {base.fingerprint[-12:]}")
        return base_losses(base, self.heldout(text))

    def table(self, rows: Mapping[str, Row]) -> Row:
        """The rows one below the other, ``[rows, P]``."""
        return np.stack(list(rows.values()))

    def zeros(self, format: str = "norm") -> Row:
        """The vector that is the base."""
        return np.zeros(self.layout(format).size, np.float32)

    def close(self) -> None:
        """Take every hook off."""
        for injection in self._injections.values():
            injection.remove()
        self._injections.clear()

    def _seed(self, seed: int | None) -> int:
        return self.seeds[0] if seed is None else seed
