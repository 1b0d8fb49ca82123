"""What the two endpoints have in common: prompts to engine requests, and the pieces both kinds of response have."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import InvalidInput
from sharedllm.http.error_responses import Refused
from sharedllm.http.protocol.schemas import Common
from sharedllm.http.service import Service
from sharedllm.http.submission import PartialAnswer
from sharedllm.operations.route import Route
from sharedllm.serving.grammar import Grammar
from sharedllm.serving.request import DEFAULT_SAMPLING, Request, Token

_CHARACTERS_PER_TOKEN = 8
"""Prose has about four; a prompt of so many for each token of the context is looked at before it is encoded."""


class Form(ABC):
    """How one endpoint is asked and answers. Choice ``i`` belongs to prompt ``i // n``.

    Attributes:
        service: what answers.
        common: what is asked that both endpoints know.
        n: how many answers to each prompt are told.
        drawn: how many of each are drawn; the likeliest of them are told.
    """

    object: ClassVar[str]
    chunk_object: ClassVar[str]
    id_prefix: ClassVar[str]

    def __init__(self, service: Service, asked: Common) -> None:
        self.service = service
        self.common = asked
        self.n = self.drawn = asked.n or 1

    @property
    @abstractmethod
    def is_long(self) -> bool:
        """Whether an answer may take long to write: with scores of its tokens, or with its prompts."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many prompts there are."""

    @abstractmethod
    def prompts(self) -> Iterator[list[int]]:
        """The prompts as ids, one after the other. Encoding takes its time, and so blocks.

        Raises:
            InvalidInput, Refused: one is unusable, or too long to fit.
        """

    @abstractmethod
    def wanted(self, prompt: Sequence[int]) -> "Wanted":
        """What is asked of the engine for one prompt."""

    def grammar(self, owner: str) -> Grammar | None:
        """What every answer is held to, made for whoever asks; None where they may say anything.

        Raises:
            GrammarError, Refused: it cannot be used.
        """
        return None

    @abstractmethod
    def choice(self, index: int, answer: PartialAnswer, vocabulary: Vocabulary) -> dict[str, Any]:
        """One finished answer, in a response that is not streamed."""

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any]:
        """What a streamed choice begins with, before there is a token."""

    @abstractmethod
    def piece(self, index: int, token: Token, vocabulary: Vocabulary) -> dict[str, Any] | None:
        """One token of a streamed choice; None where there is nothing to tell."""

    @abstractmethod
    def ending(self, index: int, text: str, reason: str) -> dict[str, Any]:
        """The last of a streamed choice."""

    def requests(self, decision: Route, seed: int) -> list[Request]:
        """Everything the engine is to do, in the order of the choices.

        Raises:
            InvalidInput: a prompt is empty or unusable, or there are too many answers.
            Refused: a prompt does not fit.
            GrammarError: what answers are to be held to cannot be used.
        """
        if self.count * self.drawn > self.service.answers:
            raise InvalidInput(
                f"The request asks for {self.count * self.drawn:,} answers",
                remedy=f"Ask for at most {self.service.answers}: prompts times n, or times best_of.",
            )
        grammar = self.grammar(decision.user)
        return [
            replace(self._request(ids, self.wanted(ids), decision, seed, choice), grammar=grammar)
            for ids in self.prompts()
            for choice in range(self.drawn)
        ]

    def chosen(self, answers: Sequence[PartialAnswer]) -> Sequence[PartialAnswer]:
        """The answers that are told, of all that were drawn: the likeliest a token, the likeliest first."""
        if self.drawn == self.n:
            return answers
        groups = (answers[start : start + self.drawn] for start in range(0, len(answers), self.drawn))
        return [answer for group in groups for answer in sorted(group, key=_likelihood, reverse=True)[: self.n]]

    def _request(self, ids: Sequence[int], wanted: "Wanted", decision: Route, seed: int, choice: int) -> Request:
        asked = self.common
        release = decision.release
        if len(ids) + wanted.max_tokens > self.service.engine.context:
            raise Refused(
                400,
                "context_length_exceeded",
                f"{len(ids):,} prompt tokens and up to {wanted.max_tokens:,} new ones do not fit",
                remedy=f"The context has {self.service.engine.context:,} tokens: shorten the prompt, or ask for fewer.",
            )
        return Request(
            prompt=ids,
            owner=decision.user,
            release=None if release is None else release.id,
            values=None if release is None else release.adapter.values,
            max_tokens=wanted.max_tokens,
            # The engine's seeds are not negative.
            sampling=replace(DEFAULT_SAMPLING, **asked.drawn, seed=seed % 2**63, choice=choice),
            stop=asked.stops,
            top_logprobs=wanted.top_logprobs,
            score_prompt=wanted.score_prompt,
            glass_box=bool(asked.extensions.glass_box),
            seconds=self._seconds(),
            ignore_end=bool(asked.ignore_eos),
            stop_ids=frozenset(asked.stop_token_ids or ()),
        )

    def _seconds(self) -> float:
        policy = self.service.policy
        seconds = self.common.extensions.timeout
        if seconds is not None and seconds > policy.max_seconds:
            raise InvalidInput(
                f"The timeout is {seconds:g} s", remedy=f"Use at most {policy.max_seconds:g}, or leave it out."
            )
        return policy.seconds if seconds is None else seconds


def check_model(service: Service, model: str) -> None:
    """Refuse whoever asks for another model than the one there is.

    Raises:
        Refused: it is another.
    """
    if model != service.model:
        raise Refused(
            404,
            "model_not_found",
            f"There is no model {model!a}",
            remedy=f"Ask for {service.model!a}; who you are decides which adapter answers.",
            param="model",
        )


def check_length(service: Service, texts: Sequence[str]) -> None:
    """Refuse what cannot fit before all of it is encoded, which takes seconds for megabytes.

    Args:
        service: what would answer.
        texts: parts of one prompt; one that says nothing takes a token all the same.

    Raises:
        Refused: there are more characters than the longest tokens would spell if they filled the context, or the
            beginning takes that much more than the context that nothing behind it could change it.
    """
    context, tokens = service.engine.context, service.engine.base.tokens
    characters = sum(max(len(text), tokens.longest) for text in texts)
    if characters > context * tokens.longest:
        raise _too_long(
            f"A prompt of {characters:,} characters",
            f"The context has {context:,} tokens of at most {tokens.longest} characters",
        )
    whole = "\n".join(texts)
    beginning = _CHARACTERS_PER_TOKEN * context
    while beginning < len(whole):
        # What comes later decides about the last few tokens alone.
        if len(tokens.encode(whole[:beginning])) > 2 * context:
            raise _too_long(
                f"A prompt that takes more than {2 * context:,} tokens in its first {beginning:,} characters",
                f"The context has {context:,} tokens",
            )
        beginning *= 2


def _likelihood(answer: PartialAnswer) -> float:
    """Log-probability a token."""
    told = [scored.logprob for scored in answer.tokens if scored.logprob is not None]
    return math.fsum(told) / len(told) if told else -math.inf


def _too_long(what: str, context: str) -> Refused:
    return Refused(400, "context_length_exceeded", f"{what} does not fit", remedy=f"{context}: shorten the prompt.")


@dataclass(frozen=True)
class Wanted:
    """What one endpoint asks of the engine in its own way; see `sharedllm.serving.request.Request`."""

    max_tokens: int
    top_logprobs: int | None
    score_prompt: bool = False


def usage(answers: Sequence[PartialAnswer], drawn: int) -> dict[str, Any]:
    """Token counts. A prompt counts once, however many answers it has; an end token counts as one that was drawn.

    How many of the prompts had been read before is told where any had been.

    Args:
        answers: all that were drawn, also those that are not told.
        drawn: how many of each prompt.
    """
    counts = counted(answers, drawn, sum(answer.end.new_tokens for answer in answers))
    cached = sum(answer.end.cached_tokens for answer in answers[::drawn])
    return {**counts, "prompt_tokens_details": {"cached_tokens": cached}} if cached else counts


def counted(answers: Sequence[PartialAnswer], drawn: int, new: int) -> dict[str, Any]:
    """The same while they come, where ``new`` tokens have."""
    prompt = sum(answer.given for answer in answers[::drawn])
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def glass_box(answers: Sequence[PartialAnswer], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Per choice, every new token's log-probability under the base and under the adapter, and their sums."""
    return [
        {
            "index": index,
            "tokens": (
                {
                    "token": vocabulary.text(scored.id),
                    "logprob_base": scored.base_logprob,
                    "logprob_adapter": scored.logprob,
                }
                for scored in answer.end.glass_box
            ),
            "logprob_base": math.fsum(scored.base_logprob or 0.0 for scored in answer.end.glass_box),
            "logprob_adapter": math.fsum(scored.logprob or 0.0 for scored in answer.end.glass_box),
        }
        for index, answer in enumerate(answers)
    ]
