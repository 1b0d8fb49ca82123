"""``POST /v1/chat/completions``."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from sharedllm.base.conversations import ChatTurn, chat_ids
from sharedllm.base.tokens import Vocabulary
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.forms import Form, Wanted, check_length
from sharedllm.http.protocol.schemas import ChatRequest, Message
from sharedllm.http.protocol.stream import answer
from sharedllm.http.protocol.tool_calls import Listener, answered, grammar, instructions, spelled
from sharedllm.http.service import Service, service_of
from sharedllm.http.submission import PartialAnswer
from sharedllm.serving.grammar import Grammar
from sharedllm.serving.request import Scored, Token

router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/chat/completions", openapi_extra=described(ChatRequest), responses=ANSWERS)
async def chat(request: Request, caller: Authenticated) -> Response:
    """Answer a conversation with the caller's own adapter."""
    service = service_of(request)
    asked = await read(request, ChatRequest, caller.sender)
    return await answer(request, caller, Chat(service, asked))


class Chat(Form):
    """A conversation, and what the assistant says next."""

    object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    id_prefix = "chatcmpl-"

    def __init__(self, service: Service, asked: ChatRequest) -> None:
        super().__init__(service, asked)
        self._asked = asked
        self._functions = [each.model_dump(exclude_none=True, exclude={"strict"}) for each in asked.functions]
        self._heard: dict[int, Listener] = {}

    @property
    def is_long(self) -> bool:
        return bool(self._asked.logprobs or self._asked.extensions.glass_box)

    @property
    def count(self) -> int:
        return 1

    def prompts(self) -> Iterator[list[int]]:
        yield prompt_of(
            self.service,
            self._asked.messages,
            instructions(self._functions) if self._functions else "",
            asking=self._asked.add_generation_prompt is not False,
            continuing=bool(self._asked.continue_final_message),
        )

    def wanted(self, prompt: Sequence[int]) -> Wanted:
        asked = self._asked.max_completion_tokens or self._asked.max_tokens
        room = max(1, self.service.engine.context - len(prompt))
        top = self._asked.top_logprobs or 0
        return Wanted(
            asked or min(room, self.service.policy.chat_tokens), top_logprobs=top if self._asked.logprobs else None
        )

    def grammar(self, owner: str) -> Grammar | None:
        asked, grammars = self._asked, self.service.grammars
        if self._functions:
            required = asked.tool_choice not in (None, "auto")
            parallel = asked.parallel_tool_calls is not False
            return grammars.of_grammar(owner, grammar(self._functions, required=required, parallel=parallel))
        schema = asked.response_format.held_to if asked.response_format is not None else None
        return None if schema is None else grammars.of_schema(owner, schema)

    def choice(self, index: int, answer: PartialAnswer, vocabulary: Vocabulary) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        listener = Listener()
        if self._functions:
            said, _ = listener.hear(answer.text, last=True)
            if listener.calls:
                message |= {"content": said.strip() or None, "tool_calls": [call.told for call in listener.calls]}
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(answer.tokens, vocabulary),
            "finish_reason": _reason(answer.end.reason, listener),
        }

    def opening(self, index: int) -> dict[str, Any]:
        return _chunk(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, token: Token, vocabulary: Vocabulary) -> dict[str, Any] | None:
        delta = self._delta(index, token.text)
        if not delta and not self._asked.logprobs:
            return None
        return _chunk(index, delta or {"content": ""}, self._logprobs([token.scored], vocabulary))

    def ending(self, index: int, text: str, reason: str) -> dict[str, Any]:
        delta = self._delta(index, text, last=True)
        return _chunk(index, delta, reason=_reason(reason, self._heard.get(index)))

    def _delta(self, index: int, text: str, *, last: bool = False) -> dict[str, Any]:
        """What is told of more text."""
        if not self._functions:
            return {"content": text} if text else {}
        said, told = self._heard.setdefault(index, Listener()).hear(text, last=last)
        return ({"content": said} if said else {}) | ({"tool_calls": told} if told else {})

    def _logprobs(self, tokens: Sequence[Scored], vocabulary: Vocabulary) -> dict[str, Any] | None:
        if not self._asked.logprobs:
            return None
        return {"content": token_scores(tokens, vocabulary), "refusal": None}


def prompt_of(
    service: Service, messages: Sequence[Message], before: str = "", *, asking: bool = True, continuing: bool = False
) -> list[int]:
    """The ids of a conversation, with what the base is told ``before`` it; for the rest see `chat_ids`.

    Raises:
        InvalidInput: see `chat_ids`.
        Refused: see `check_length`.
    """
    turns = _turns(messages, before)
    check_length(service, [turn.text for turn in turns])
    return chat_ids(service.engine.base, turns, asking=asking, continuing=continuing)


def _turns(messages: Sequence[Message], before: str) -> list[ChatTurn]:
    """The conversation as templates know it: with calls and what they came to as text, and what the base is told first.

    Templates know no tools, and many want users and assistants to take turns: results of several calls are one turn.
    """
    turns: list[ChatTurn] = []
    results: list[str] = []
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        role, text = "system" if message.role == "developer" else message.role, message.text
        if role == "tool":
            results.append(text)
            if following is not None and following.role == "tool":
                continue
            role, text, results = "user", answered(results), []
        for call in message.tool_calls or ():
            text += ("\n" if text else "") + spelled(call.function.name, call.function.arguments)
        turns.append(ChatTurn(role, text))
    if before and turns[0].role == "system":
        return [ChatTurn("system", f"{turns[0].text}\n\n{before}"), *turns[1:]]
    return [ChatTurn("system", before), *turns] if before else turns


def _reason(reason: str, listener: Listener | None) -> str:
    return "tool_calls" if reason == "stop" and listener is not None and listener.calls else reason


def token_scores(tokens: Sequence[Scored], vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    """What OpenAI tells of each token."""
    return (
        _told(scored.id, scored.logprob, vocabulary)
        | {"top_logprobs": [_told(id, logprob, vocabulary) for id, logprob in scored.top]}
        for scored in tokens
    )


def _told(id: int, logprob: float | None, vocabulary: Vocabulary) -> dict[str, Any]:
    return {"token": vocabulary.text(id), "logprob": logprob, "bytes": list(vocabulary.raw(id))}


def _chunk(index: int, delta: Any, logprobs: Any = None, reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
