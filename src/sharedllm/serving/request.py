"""What the engine is asked, and what it answers: one request, its tokens as they come, and how it ended."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from sharedllm.errors import InvalidInput

if TYPE_CHECKING:
    from sharedllm.serving.grammar import Grammar

Reason = Literal["stop", "length", "cancelled", "deadline", "erased", "shutdown", "failed"]
"""``stop``: an end token or a stop string; ``length``: as many tokens as were asked for, or as fit the context."""


MOST_PENALTY = 2.0
"""Of the presence and frequency penalties, in either direction, as OpenAI has it."""
MOST_REPETITION = 10.0
"""Of the repetition penalty, and as much the other way round."""
MOST_BIAS = 100.0
"""Of a logit, in either direction, as OpenAI has it."""

_RANGES = (
    ("temperature", 0.0, math.inf),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("top_k", 0, math.inf),
    ("repetition_penalty", 1 / MOST_REPETITION, MOST_REPETITION),
    ("frequency_penalty", -MOST_PENALTY, MOST_PENALTY),
    ("presence_penalty", -MOST_PENALTY, MOST_PENALTY),
)


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn.

    Attributes:
        temperature: 0 takes the likeliest token; otherwise logits are divided by it.
        top_p: draw among the likeliest tokens whose probabilities first add up to this (Holtzman et al. 2020).
        min_p: and among those that are at least this share as likely as the likeliest (Nguyen et al. 2024).
        seed: of the request's own noise, which depends on nothing but this, ``choice`` and the position.
        choice: which of several answers to the same prompt this is.
        top_k: and among this many likeliest (Fan et al. 2018), with whatever is as likely as the last of them; 0 for
            all.
        repetition_penalty: above 1 makes every token of prompt and answer less likely; see `adjust` for the penalties.
        frequency_penalty: taken off a token's logit for each time that the answer has it.
        presence_penalty: taken off once for whatever the answer has.
        logit_bias: tokens, each once, and what is added to their logits.

    Raises:
        InvalidInput: a number is not finite, or outside the range that the message names; or a token is biased twice.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    choice: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    @cached_property
    def biases(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """``logit_bias`` as ids and what is added to them, once and not token after token."""
        ids, added = zip(*self.logit_bias, strict=True) if self.logit_bias else ((), ())
        return np.array(ids, np.int64), np.array(added, np.float64)

    def __post_init__(self) -> None:
        # Whatever is no number is in no range.
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not (least <= value <= most and math.isfinite(value)):
                bound = "a number that is not negative" if most == math.inf else f"between {least:g} and {most:g}"
                raise InvalidInput(f"{name} is {value!r}", remedy=f"Give {bound}.")
        if not all(-MOST_BIAS <= bias <= MOST_BIAS for _, bias in self.logit_bias):
            raise InvalidInput(
                "A bias in logit_bias is out of its range", remedy=f"Give between {-MOST_BIAS:g} and {MOST_BIAS:g}."
            )
        if len({id for id, _ in self.logit_bias}) < len(self.logit_bias):
            raise InvalidInput("logit_bias names a token twice", remedy="Name each once.")

    @property
    def penalises(self) -> bool:
        """Whether it depends on what was said how likely a token is drawn."""
        return self.repetition_penalty != 1 or self.frequency_penalty != 0 or self.presence_penalty != 0

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before anything is drawn from them."""
        return bool(self.logit_bias) or self.penalises


DEFAULT_SAMPLING = Sampling(temperature=1, min_p=0.05)
"""How tokens are drawn where nobody says otherwise, on the command line as over HTTP. Chosen by
``benchmarks/decoding.py``: see ``docs/serving.md``."""


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt, who asks, and the row that answers.

    Attributes:
        prompt: token ids, at least one.
        owner: who asks; requests of one owner wait for one another's turn, and end when the owner is erased.
        release: id of the release that answers, never used twice; None for the base as it is.
        values: the release's row, float32 ``[P]``; None for the base as it is.
        max_tokens: at most this many new tokens; 0 only reads the prompt.
        sampling: how tokens are drawn.
        stop: strings that end the answer and are not part of it.
        top_logprobs: how many of the likeliest tokens are told at every position; with None no new token's own
            log-probability is, either, which is faster.
        score_prompt: tell the log-probability of every prompt token but the first.
        glass_box: tell every new token's log-probability under the base beside the one under the row that answered.
        seconds: the request ends with ``deadline`` this long after it was submitted; None leaves it all the time.
        ignore_end: go on after an end token of the base.
        stop_ids: tokens that end the answer beside those of the base, also where these are ignored.
        grammar: what the answer is held to; it ends where nothing more may come.
    """

    prompt: Sequence[int]
    owner: str
    release: str | None = None
    values: npt.NDArray[np.float32] | None = None
    max_tokens: int = 16
    sampling: Sampling = Sampling()
    stop: Sequence[str] = ()
    top_logprobs: int | None = 0
    score_prompt: bool = False
    glass_box: bool = False
    seconds: float | None = None
    ignore_end: bool = False
    stop_ids: frozenset[int] = frozenset()
    grammar: "Grammar | None" = None

    @property
    def tokens(self) -> int:
        """Of the prompt and an answer of full length."""
        return len(self.prompt) + self.max_tokens


@dataclass(frozen=True)
class Scored:
    """A token and how likely it was.

    Attributes:
        id: the token.
        logprob: natural logarithm of its probability under the row that answered, at temperature 1; None for the first
            token of a prompt, and where it was not asked for.
        top: the likeliest tokens at this place and their log-probabilities, likeliest first.
        base_logprob: the same token under the base; only where the glass box was asked for.
    """

    id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()
    base_logprob: float | None = None


@dataclass(frozen=True)
class Token:
    """One new token, and the text that became certain with it.

    Attributes:
        scored: the token and its log-probability.
        text: what can be shown now; empty while a character, or what may be a stop string, is incomplete.
    """

    scored: Scored
    text: str


@dataclass(frozen=True)
class Finished:
    """How a request ended; the last thing that is delivered, exactly once.

    Attributes:
        reason: why it ended.
        text: what was held back and turned out to belong to the answer.
        prompt_tokens: how many ids the prompt had.
        new_tokens: how many tokens were drawn, an end token included.
        prompt_scores: every prompt token, where that was asked for.
        glass_box: every new token under both, where that was asked for.
        error: what went wrong, for ``failed`` alone; its message may quote what somebody wrote.
        cached_tokens: how many ids of the prompt an earlier request of the same release had read.
    """

    reason: Reason
    text: str
    prompt_tokens: int
    new_tokens: int
    prompt_scores: tuple[Scored, ...] = ()
    glass_box: tuple[Scored, ...] = ()
    error: Exception | None = None
    cached_tokens: int = 0


RequestEvent = Token | Finished
Deliver = Callable[[RequestEvent], None]
"""Called on the engine's thread, in order, ending with `Finished`; it must return at once."""


@dataclass(frozen=True)
class Limits:
    """What one engine holds at once.

    Attributes:
        running: requests in the batch.
        waiting: requests in the queue, of everybody together.
        waiting_per_owner: requests in the queue of one owner.
        cache_tokens: keys and values held, in tokens, over all running requests, and ended ones while there is room.
        batch_tokens: tokens read in one pass at most; longer prompts take several, and on a CPU others do while anybody
            draws, see `Scheduler`.
        table_bytes: device memory for adapters.
        deterministic: read every request apart from the others, so that nothing of its answer depends on who else is
            there, to the last bit; with many at once that takes several times as long.
        speculates: whether tokens that may come next are read ahead in passes of few, see `Proposals`; answers are the
            same but for rounding. None where it is known to be faster: in bfloat16 on a CPU.
    """

    running: int = 64
    waiting: int = 512
    waiting_per_owner: int = 64
    cache_tokens: int = 32_768
    batch_tokens: int = 512
    table_bytes: int = 256 * 1024**2
    deterministic: bool = False
    speculates: bool | None = None

    @property
    def pass_tokens(self) -> int:
        """Tokens that one pass has room for, which is one of each running request at least."""
        return max(self.batch_tokens, self.running)


@dataclass
class Counters:
    """What the engine has done since it began; read by the metrics.

    Attributes:
        waiting: requests in the queue now.
        running: requests in the batch now.
        owners: distinct rows in the batch now, the base among them.
        batches: passes of the model.
        prompt_tokens: of prompts.
        cached_tokens: those of them that had been read before, for another request of the same release.
        new_tokens: drawn.
        proposed_tokens: read before they were drawn, as they might come next.
        accepted_tokens: those of them that did.
        table_hits: requests whose row was on the device already.
        table_misses: requests whose row had to be copied there.
        table_rows: rows on the device now.
        table_room: rows that there is room for.
        cache_tokens: tokens whose keys and values have a place now.
        cache_room: tokens that there are places for.
        finished: requests by how they ended.
    """

    waiting: int = 0
    running: int = 0
    owners: int = 0
    batches: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    proposed_tokens: int = 0
    accepted_tokens: int = 0
    table_hits: int = 0
    table_misses: int = 0
    table_rows: int = 0
    table_room: int = 0
    cache_tokens: int = 0
    cache_room: int = 0
    finished: dict[str, int] = field(default_factory=dict)
