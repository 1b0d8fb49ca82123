"""``POST /v1/completions``: prompts go on as plain text, with no control tokens added or read."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from sharedllm.base.tokens import Stream, Vocabulary
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.forms import Form, Wanted, check_length
from sharedllm.http.protocol.schemas import CompletionRequest
from sharedllm.http.protocol.stream import answer
from sharedllm.http.service import Service, service_of
from sharedllm.http.submission import PartialAnswer
from sharedllm.serving.request import Scored, Token

MAX_TOKENS = 16

router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/completions", openapi_extra=described(CompletionRequest), responses=ANSWERS)
async def complete(request: Request, caller: Authenticated) -> Response:
    """Continue prompts with the caller's own adapter, or score them."""
    service = service_of(request)
    asked = await read(request, CompletionRequest, caller.sender)
    return await answer(request, caller, Completion(service, asked))


class Completion(Form):
    """Prompts, and how each goes on."""

    object = chunk_object = "text_completion"
    id_prefix = "cmpl-"

    def __init__(self, service: Service, asked: CompletionRequest) -> None:
        super().__init__(service, asked)
        self._asked = asked
        self.drawn = asked.best_of or self.n
        self._prompts: list[Sequence[int]] = []
        self._offsets: dict[int, _Offsets] = {}

    @property
    def is_long(self) -> bool:
        return bool(self._asked.echo or self._asked.logprobs is not None or self._asked.extensions.glass_box)

    @property
    def count(self) -> int:
        return len(_listed(self._asked.prompt))

    def prompts(self) -> Iterator[list[int]]:
        base = self.service.engine.base
        for prompt in _listed(self._asked.prompt):
            if isinstance(prompt, str):
                check_length(self.service, [prompt])
                ids = base.encode(prompt)
            else:
                base.tokens.check(ids := prompt)
            self._prompts.append(ids)
            yield ids

    def wanted(self, prompt: Sequence[int]) -> Wanted:
        asked = self._asked
        # Which answers are the likeliest is known by their tokens' log-probabilities.
        ranked = 0 if self.drawn > self.n else None
        return Wanted(
            MAX_TOKENS if asked.max_tokens is None else asked.max_tokens,
            ranked if asked.logprobs is None else asked.logprobs,
            score_prompt=bool(asked.echo) and asked.logprobs is not None,
        )

    def choice(self, index: int, answer: PartialAnswer, vocabulary: Vocabulary) -> dict[str, Any]:
        scored = [*answer.end.prompt_scores, *answer.tokens]
        return _choice(
            index, self._echo(index) + answer.text, self._logprobs(index, scored, vocabulary), answer.end.reason
        )

    def opening(self, index: int) -> dict[str, Any]:
        return _choice(index, self._echo(index))

    def piece(self, index: int, token: Token, vocabulary: Vocabulary) -> dict[str, Any] | None:
        if not token.text and self._asked.logprobs is None:
            return None
        return _choice(index, token.text, self._logprobs(index, [token.scored], vocabulary))

    def ending(self, index: int, text: str, reason: str) -> dict[str, Any]:
        return _choice(index, text, reason=reason)

    def _echo(self, index: int) -> str:
        if not self._asked.echo:
            return ""
        return self.service.engine.base.decode(self._prompts[index // self.n])

    def _logprobs(self, index: int, tokens: Sequence[Scored], vocabulary: Vocabulary) -> dict[str, Any] | None:
        count = self._asked.logprobs
        if count is None:
            return None
        offsets = self._offsets.get(index)
        if offsets is None:
            # What is echoed is part of the text, and what is not decides how it begins.
            before = () if self._asked.echo else self._prompts[index // self.n]
            offsets = self._offsets[index] = _Offsets(self.service.engine.base.tokens.stream(before))
        return {
            "tokens": (vocabulary.text(scored.id) for scored in tokens),
            "token_logprobs": (scored.logprob for scored in tokens),
            "top_logprobs": (_top(scored, vocabulary) for scored in tokens) if count else None,
            "text_offset": (offsets.next(scored.id) for scored in tokens),
        }


class _Offsets:
    """Where each token begins in the text, in characters; one inside a character begins where that does."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._end = 0

    def next(self, id: int) -> int:
        begin = self._end
        self._end += len(self._stream.step(id))
        return begin


def _top(scored: Scored, vocabulary: Vocabulary) -> dict[str, float] | None:
    # The first token of a prompt was not predicted by anything.
    return None if scored.logprob is None else {vocabulary.text(id): logprob for id, logprob in scored.top}


def _listed(prompt: str | list[int] | list[str] | list[list[int]]) -> Sequence[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    return [prompt] if isinstance(prompt[0], int) else prompt


def _choice(index: int, text: str, logprobs: Any = None, reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
