"""``POST /v1/chat/completions``."""

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from sharedllm.base.conversations import ChatTurn, chat_ids
from sharedllm.base.tokens import Vocabulary
from sharedllm.http.error_responses import ANSWERS
from sharedllm.http.identity import Authenticated
from sharedllm.http.protocol.body import described, read
from sharedllm.http.protocol.forms import Form, Wanted
from sharedllm.http.protocol.schemas import ChatRequest, Message
from sharedllm.http.protocol.stream import answer
from sharedllm.http.service import Service
from sharedllm.http.submission import PartialAnswer
from sharedllm.serving.request import Scored, Token

router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/chat/completions", openapi_extra=described(ChatRequest), responses=ANSWERS)
async def chat(request: Request, caller: Authenticated) -> Response:
    """Answer a conversation with the caller's own adapter."""
    service: Service = request.app.state.service
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

    @property
    def is_long(self) -> bool:
        return bool(self._asked.logprobs or self._asked.extensions.glass_box)

    @property
    def count(self) -> int:
        return 1

    def prompts(self) -> Iterator[list[int]]:
        base = self.service.engine.base
        turns = [_turn(message) for message in self._asked.messages]
        self.check_length([turn.text for turn in turns])
        yield chat_ids(
            base,
            turns,
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

    def choice(self, index: int, answer: PartialAnswer, vocabulary: Vocabulary) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": self._logprobs(answer.tokens, vocabulary),
            "finish_reason": answer.end.reason,
        }

    def opening(self, index: int) -> dict[str, Any]:
        return _chunk(index, {"role": "assistant", "content": ""})

    def piece(self, index: int, token: Token, vocabulary: Vocabulary) -> dict[str, Any] | None:
        if not token.text and not self._asked.logprobs:
            return None
        return _chunk(index, {"content": token.text}, self._logprobs([token.scored], vocabulary))

    def ending(self, index: int, text: str, reason: str) -> dict[str, Any]:
        return _chunk(index, {"content": text} if text else {}, reason=reason)

    def _logprobs(self, tokens: Sequence[Scored], vocabulary: Vocabulary) -> dict[str, Any] | None:
        if not self._asked.logprobs:
            return None
        return {
            "content": (
                _told(scored.id, scored.logprob, vocabulary)
                | {"top_logprobs": [_told(id, logprob, vocabulary) for id, logprob in scored.top]}
                for scored in tokens
            ),
            "refusal": None,
        }


def _turn(message: Message) -> ChatTurn:
    return ChatTurn("system" if message.role == "developer" else message.role, message.text)


def _told(id: int, logprob: float | None, vocabulary: Vocabulary) -> dict[str, Any]:
    return {"token": vocabulary.text(id), "logprob": logprob, "bytes": list(vocabulary.raw(id))}


def _chunk(index: int, delta: Any, logprobs: Any = None, reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
