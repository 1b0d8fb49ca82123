"""What an answer is held to: after each token, which tokens may come next, by llguidance.

Grammars are somebody's text. One that would take long to compile is found out in a process of its own, which is ended;
what is left is bounded by llguidance's own limits, a step at a time.
"""

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sharedllm.base.loading import Base
from sharedllm.errors import GrammarError, GrammarFailed
from sharedllm.extras import need

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

CHARACTERS = 65_536
"""Of one grammar."""
SECONDS = 2
"""Of processor time in which it is to be compiled."""
_PATIENCE_SECONDS = 20.0
"""And of any time, on a machine that does other things."""
_BYTES = 1024**3
_KEPT = 256
"""Compiled grammars that are kept for the next request with the same."""
_LIMITS = {
    "max_items_in_row": 1_000,
    "initial_lexer_fuel": 500_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 20_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 100_000,
    "precompute_large_lexemes": False,
    "verbose_errors": False,
}
JSON_STYLE: Mapping[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON, as Python's does: a base that may write white space anywhere may never come to an end."""
_TRIAL = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({_BYTES}, {_BYTES}))
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
text = sys.stdin.buffer.read().decode()
matcher = LLMatcher(LLTokenizer("byte"), text, log_level=0, limits=LLParserLimits(**{_LIMITS}))
matcher.compute_bitmask()
sys.stdout.buffer.write(matcher.get_error().encode())
"""


class Grammar:
    """A grammar over the tokens of one base; see `Grammars`."""

    def __init__(self, matcher: "LLMatcher") -> None:
        self._matcher = matcher

    def begin(self) -> "Constraint":
        """Hold one answer to it."""
        return Constraint(self._matcher.deep_copy())


class Constraint:
    """One answer as it follows its grammar.

    Attributes:
        allowed: which tokens may come next, a bit each, the first in the lowest bit, uint8 ``[bytes]``; see `look`.
        complete: whether nothing may come any more.
    """

    def __init__(self, matcher: "LLMatcher") -> None:
        self._matcher = matcher
        self.allowed: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self.complete = False

    def look(self) -> None:
        """Find out which tokens may come next.

        Raises:
            GrammarFailed: none may, or it takes too much to find out.
        """
        self.allowed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error() or not self.allowed.any():
            raise _stuck()

    def accept(self, id: int) -> None:
        """Take note of the token that came.

        Raises:
            GrammarFailed: it may not, or it takes too much to go on from it.
        """
        if not self._matcher.consume_token(id):
            raise _stuck()
        self.complete = self._matcher.is_stopped()


def restrict(logits: "torch.Tensor", constraints: Sequence[Constraint | None]) -> None:
    """Minus infinity for tokens that may not come next, in place; of everybody at once.

    Args:
        logits: float, ``[rows, vocabulary]``.
        constraints: of each row, after `Constraint.look`; None of a row that may say anything.
    """
    import torch

    held = [(row, each.allowed) for row, each in enumerate(constraints) if each is not None]
    bits = np.unpackbits(np.stack([allowed for _, allowed in held]), axis=1, bitorder="little")
    width = logits.shape[-1]
    forbidden = torch.from_numpy(bits[:, :width] == 0).to(logits.device)
    if len(held) == len(logits):
        logits[:, : forbidden.shape[1]].masked_fill_(forbidden, -torch.inf)
        return
    rows = torch.tensor([row for row, _ in held], device=logits.device)
    logits[rows] = logits[rows].masked_fill_(forbidden, -torch.inf)


class Grammars:
    """Makes grammars for one base, and keeps those that were made for somebody. Safe to use from several threads."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[tuple[str, str], Grammar] = OrderedDict()

    def of_schema(self, owner: str, schema: Mapping[str, Any]) -> Grammar:
        """A JSON value that a JSON Schema allows, in `JSON_STYLE`.

        Raises:
            GrammarError: it is too long, takes too much to compile, cannot be followed by anything, or has what
                llguidance does not know.
            MissingExtra: llguidance is not installed.
        """
        need("serve")
        from llguidance import LLMatcher

        try:
            text = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=dict(JSON_STYLE))  # type: ignore[arg-type]
        except (ValueError, RecursionError) as error:
            raise _unusable(str(error)) from None
        return self.of_grammar(owner, text)

    def of_grammar(self, owner: str, text: str) -> Grammar:
        """What a grammar in llguidance's variant of Lark allows.

        Args:
            owner: who asks, and can be forgotten.
            text: the grammar.

        Raises:
            GrammarError, MissingExtra: see `of_schema`.
        """
        need("serve")
        if len(text) > CHARACTERS:
            raise GrammarError(
                f"What the answer is held to has {len(text):,} characters", remedy=f"Use at most {CHARACTERS:,}."
            )
        with self._lock:
            if (owner, text) in self._kept:
                self._kept.move_to_end((owner, text))
                return self._kept[owner, text]
        _try(text)
        made = Grammar(self._compiled(text))
        with self._lock:
            self._kept[owner, text] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def forget(self, owner: str) -> None:
        """Let go of what was made for somebody."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == owner]:
                del self._kept[key]

    def _compiled(self, text: str) -> "LLMatcher":
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer

        with self._lock:
            if self._tokenizer is None:
                backend, rows = self._base.tokens.backend, len(self._base.head)
                try:
                    self._tokenizer = LLTokenizer(
                        backend.to_str(),
                        n_vocab=max(rows, backend.get_vocab_size()),
                        eos_token=list(self._base.end_tokens) or None,
                    )
                except ValueError as error:
                    raise _unusable(f"this base's tokenizer cannot be used for it: {error}") from None
            tokenizer = self._tokenizer
        matcher = LLMatcher(tokenizer, text, log_level=0, limits=LLParserLimits(**_LIMITS))  # type: ignore[arg-type]
        if matcher.is_error():
            raise _unusable(matcher.get_error())
        return matcher


def _try(text: str) -> None:
    """Compile a grammar where that can be ended.

    Raises:
        GrammarError: it cannot be compiled, or not within the bounds.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            input=text.encode(),
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise GrammarError(
            f"What the answer is held to takes more than {SECONDS} s or {_BYTES // 1024**2:,} MiB to compile",
            remedy="Use a simpler schema: fewer alternatives, and patterns that do not have to hold together.",
        )
    if done.stdout:
        raise _unusable(done.stdout.decode())


def _unusable(why: str) -> GrammarError:
    # It may quote at length what was sent.
    said = " ".join(why.split())[:200].rstrip(".")
    return GrammarError(f"What the answer is held to cannot be used: {said}", remedy="Correct or simplify it.")


def _stuck() -> GrammarFailed:
    return GrammarFailed(
        "What the answer is held to leaves nothing that could come next, or takes too much to follow",
        remedy="Use a simpler schema, or ask again.",
    )
