"""How ``/v1/responses`` answers: items of output, and in a stream OpenAI's events in OpenAI's order.

Whole or streamed, an answer goes through the same steps, so that both come to the same items.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sharedllm.base.tokens import Vocabulary
from sharedllm.errors import SharedLLMError
from sharedllm.http.error_responses import told
from sharedllm.http.protocol.chat import token_scores
from sharedllm.http.protocol.forms import Form
from sharedllm.http.protocol.response_schemas import ResponsesRequest
from sharedllm.http.protocol.tool_calls import Listener
from sharedllm.http.protocol.writing import Writer, event
from sharedllm.serving.request import DEFAULT_SAMPLING, Finished, Scored, Token

_Event = dict[str, Any]


class ResponseWriter(Writer):
    """One response, which is of one answer."""

    id_prefix = "resp_"

    def __init__(self, asked: ResponsesRequest, form: Form, vocabulary: Vocabulary) -> None:
        super().__init__(form, vocabulary)
        self._asked = asked
        self._listener = Listener() if asked.chat.functions else None
        self._output: list[dict[str, Any]] = []
        # Whether the last item is still being said.
        self._growing = False
        # White space that is told once words come before a call.
        self._blank = ""
        self._reason = "stop"
        self._number = 0

    def whole(self, counts: Mapping[str, Any]) -> Mapping[str, Any]:
        (answer,) = self.answers
        self._hear(answer.text, answer.tokens, last=True)
        self._finish(answer.end.reason)
        return self._complete(counts)

    def opening(self) -> bytes:
        response = self._response("in_progress", sharedllm=self.head.routing)
        return self._told([{"type": f"response.{kind}", "response": response} for kind in ("created", "in_progress")])

    def piece(self, index: int, token: Token) -> bytes:
        return self._told(self._hear(token.text, [token.scored]))

    def ending(self, index: int, finished: Finished, *, last: bool) -> bytes:
        return self._told(self._hear(finished.text, (), last=True) + self._finish(finished.reason))

    def closing(self, counts: Mapping[str, Any]) -> bytes:
        response = self._complete(counts)
        return self._told([{"type": f"response.{response['status']}", "response": response}])

    def failure(self, error: SharedLLMError, opening: bytes) -> bytes:
        # Clients want to have heard of a response before they hear that it failed.
        why = told(error, {})["error"]
        response = self._response("failed", error=why, sharedllm=self.head.routing)
        return opening + self._told([{"type": "response.failed", "response": response}])

    def _hear(self, text: str, tokens: Sequence[Scored], *, last: bool = False) -> list[_Event]:
        """More of the answer."""
        said, calls = (text, []) if self._listener is None else self._listener.hear(text, last=last)
        scores = list(token_scores(tokens, self.vocabulary)) if self._asked.logprobs else []
        events = self._say(said, scores) if said or scores else []
        for each in calls:
            if "id" in each:
                events += self._call(each["id"], each["function"]["name"])
            else:
                events += self._argue(each["function"]["arguments"])
        return events

    def _say(self, said: str, scores: list[dict[str, Any]]) -> list[_Event]:
        events = []
        if not self._growing or self._item["type"] != "message":
            said, self._blank = self._blank + said, ""
            if self._listener is not None and not said.strip():
                self._blank = said
                return []
            events = self._begin_message()
        part = self._item["content"][0]
        part["text"] += said
        part["logprobs"] += scores
        return [*events, self._of_part("response.output_text.delta", delta=said, logprobs=scores)]

    def _begin_message(self) -> list[_Event]:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        events = self._begin("msg", {"type": "message", "role": "assistant", "content": []})
        self._item["content"] = [part]
        return [*events, self._of_part("response.content_part.added", part={**part, "logprobs": []})]

    def _call(self, id: str, name: str) -> list[_Event]:
        self._blank = ""
        return self._begin("fc", {"type": "function_call", "call_id": id, "name": name, "arguments": ""})

    def _argue(self, more: str) -> list[_Event]:
        self._item["arguments"] += more
        return [self._of_item("response.function_call_arguments.delta", delta=more)]

    def _begin(self, prefix: str, item: dict[str, Any]) -> list[_Event]:
        """Begin an item, which ends the one before."""
        events = self._end("completed")
        self._output.append({"id": f"{prefix}_{secrets.token_hex(12)}", "status": "in_progress", **item})
        self._growing = True
        added = {"type": "response.output_item.added", "output_index": self._index, "item": dict(self._item)}
        return [*events, added]

    def _end(self, status: str) -> list[_Event]:
        if not self._growing:
            return []
        self._growing = False
        item = self._item
        item["status"] = status
        if item["type"] == "message":
            (part,) = item["content"]
            events = [
                self._of_part("response.output_text.done", text=part["text"], logprobs=part["logprobs"]),
                self._of_part("response.content_part.done", part=part),
            ]
        else:
            arguments = {"name": item["name"], "arguments": item["arguments"]}
            events = [self._of_item("response.function_call_arguments.done", **arguments)]
        return [*events, {"type": "response.output_item.done", "output_index": self._index, "item": item}]

    def _finish(self, reason: str) -> list[_Event]:
        """End the last item; an answer that says nothing has one all the same."""
        events = []
        if not self._output:
            events = self._begin_message()
            if self._blank:
                events += self._say(self._blank, [])
        self._reason = reason
        return events + self._end(self._status)

    @property
    def _item(self) -> dict[str, Any]:
        return self._output[-1]

    @property
    def _index(self) -> int:
        return len(self._output) - 1

    @property
    def _status(self) -> str:
        return "incomplete" if self._reason == "length" else "completed"

    def _of_item(self, kind: str, **more: Any) -> _Event:
        return {"type": kind, "item_id": self._item["id"], "output_index": self._index, **more}

    def _of_part(self, kind: str, **more: Any) -> _Event:
        return self._of_item(kind, content_index=0, **more)

    def _complete(self, counts: Mapping[str, Any]) -> dict[str, Any]:
        cached = counts.get("prompt_tokens_details", {}).get("cached_tokens", 0)
        usage = {
            "input_tokens": counts["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": counts["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counts["total_tokens"],
        }
        why = {"reason": "max_output_tokens"} if self._status == "incomplete" else None
        return self._response(self._status, incomplete_details=why, usage=usage, sharedllm=self.ours())

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        asked = self._asked
        text = asked.text.format if asked.text is not None else None
        choice = asked.tool_choice
        return {
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": self.head.model,
            "output": self._output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "prompt_cache_key": asked.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": asked.safety_identifier,
            "service_tier": "default",
            "store": False,
            "temperature": DEFAULT_SAMPLING.temperature if asked.temperature is None else asked.temperature,
            "text": {"format": {"type": "text"} if text is None else text.model_dump(by_alias=True, exclude_none=True)},
            "tool_choice": choice or "auto" if isinstance(choice, str | None) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": DEFAULT_SAMPLING.top_p if asked.top_p is None else asked.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": asked.user,
        } | more

    def _told(self, events: Sequence[_Event]) -> bytes:
        """Events as they are sent, numbered."""
        sent = [event({**each, "sequence_number": self._number + at}, each["type"]) for at, each in enumerate(events)]
        self._number += len(events)
        return b"".join(sent)
