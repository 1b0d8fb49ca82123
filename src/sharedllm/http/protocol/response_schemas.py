"""What may be asked of ``/v1/responses``, and the conversation that it comes to.

Nothing is kept between two requests, so what refers to something kept is refused by its name.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from sharedllm.http.protocol.schemas import (
    OTHER_SERVERS,
    CalledFunction,
    ChatRequest,
    Drawn,
    Function,
    JSONSchema,
    Message,
    MetadataLabels,
    NamedFunction,
    NamedTool,
    ResponseFormat,
    Tool,
    ToolCall,
)
from sharedllm.http.protocol.strict import Name, Strict, Unsupported

LOGPROBS = "message.output_text.logprobs"
_CallId = Annotated[str, Field(max_length=256)]
_Status = Literal["in_progress", "completed", "incomplete"]


class TextContent(Strict):
    """A part of what somebody said; what an earlier answer tells beside its text is taken and not read."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


Content = str | Annotated[list[TextContent], Field(fail_fast=True)]


class MessageItem(Strict):
    """Something that somebody said."""

    unsupported: ClassVar[Unsupported] = {"phase": ("commentary", "final_answer")}

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"] = Field(description="developer is read as system.")
    content: Content
    id: str | None = Field(None, max_length=256)
    status: _Status | None = None


class CallItem(Strict):
    """A call that the assistant made."""

    unsupported: ClassVar[Unsupported] = {"caller": (), "namespace": (), "async": (False,)}

    type: Literal["function_call"]
    call_id: _CallId
    name: Name
    arguments: str = Field(description="JSON, as the assistant wrote it.")
    id: str | None = Field(None, max_length=256)
    status: _Status | None = None


class ResultItem(Strict):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: _CallId
    output: Content
    id: str | None = Field(None, max_length=256)
    status: _Status | None = None


def _kind(item: Any) -> Any:
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return kind if isinstance(kind, str) else None


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[ResultItem, Tag("function_call_output")],
    Discriminator(
        _kind,
        custom_error_type="item",
        custom_error_message="an item is a message, a function_call or a function_call_output",
    ),
]


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class FunctionTool(Strict):
    """A function that the assistant may call."""

    unsupported: ClassVar[Unsupported] = {
        "allowed_callers": (["direct"],),
        "defer_loading": (False,),
        "output_schema": (),
    }

    type: Literal["function"]
    name: Name
    description: str | None = Field(None, max_length=16_384)
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of its arguments; none by default.")
    strict: bool | None = Field(None, description="Arguments always follow the schema.")


class FunctionChoice(Strict):
    """What the assistant has to call."""

    type: Literal["function"]
    name: Name


class TextFormat(Strict):
    """How an answer is written."""

    type: Literal["text", "json_object", "json_schema"]
    name: Name | None = None
    description: str | None = Field(None, max_length=16_384)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="The answer always follows the schema.")

    @model_validator(mode="after")
    def _a_schema_is_said(self) -> Self:
        given = [each is not None for each in (self.name, self.schema_)]
        if not (all(given) if self.type == "json_schema" else not any(given)):
            raise PydanticCustomError("format", "name and schema come with the type json_schema, and with no other")
        return self


class TextOptions(Strict):
    """How an answer is written."""

    unsupported: ClassVar[Unsupported] = {"verbosity": ("medium",)}

    format: TextFormat | None = None


class EventOptions(Strict):
    """How a stream is written."""

    unsupported: ClassVar[Unsupported] = {"include_obfuscation": (False,)}


class ResponsesRequest(Drawn):
    """The body of ``POST /v1/responses``."""

    unsupported: ClassVar[Unsupported] = {
        **OTHER_SERVERS,
        "access_programs": ({},),
        "background": (False,),
        "context_management": ([],),
        "conversation": (),
        "image": ({},),
        "max_tool_calls": (),
        "moderation": (),
        "previous_response_id": (),
        "prompt": (),
        "prompt_cache_options": ({},),
        "prompt_cache_retention": ("in_memory",),
        "reasoning": ({}, {"effort": "none"}),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "truncation": ("disabled",),
    }

    input: Annotated[
        list[Item], Field(min_length=1, max_length=2048, fail_fast=True), BeforeValidator(_items, str | list[Item])
    ]
    instructions: str | None = Field(None, description="What the base is told before everything else.")
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = Field(
        None, description="auto by default."
    )
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may have several calls; by default.")
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = Field(
        None, description="There is no reasoning."
    )
    top_logprobs: int | None = Field(None, ge=0, le=20, description=f"Beside each token, where {LOGPROBS} is included.")
    stream_options: EventOptions | None = None
    metadata: MetadataLabels | None = Field(None, description="Told again, and not kept.")
    prompt_cache_key: str | None = Field(None, max_length=1024, description="Taken and not needed.")
    safety_identifier: str | None = Field(None, max_length=1024, description="Taken and not kept.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options needs stream to be true")
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs needs include to have " + LOGPROBS)
        # What a chat refuses is refused here, too.
        if self.chat.functions and self.logprobs:
            raise PydanticCustomError("include", "log-probabilities are not told beside tools")
        return self

    @property
    def logprobs(self) -> bool:
        """Whether log-probabilities of the answer's tokens are told."""
        return LOGPROBS in (self.include or ())

    @cached_property
    def chat(self) -> ChatRequest:
        """The same as a chat."""
        said = {name: getattr(self, name) for name in Drawn.model_fields}
        choice = self.tool_choice
        asked = ChatRequest.model_construct(
            **said,
            messages=_messages(self.instructions, self.input),
            max_completion_tokens=self.max_output_tokens,
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
            response_format=_response_format(self.text.format if self.text is not None else None),
            tools=[Tool(type="function", function=Function(**_said(each))) for each in self.tools or ()],
            tool_choice=NamedTool(type="function", function=NamedFunction(name=choice.name))
            if isinstance(choice, FunctionChoice)
            else choice,
            parallel_tool_calls=self.parallel_tool_calls,
        )
        # All else has been seen to.
        return asked.checked()


def _said(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(exclude={"type"}, by_alias=True)


def _response_format(asked: TextFormat | None) -> ResponseFormat | None:
    if asked is None:
        return None
    schema = JSONSchema(**_said(asked)) if asked.type == "json_schema" else None
    return ResponseFormat(type=asked.type, json_schema=schema)


def _messages(instructions: str | None, items: Sequence[MessageItem | CallItem | ResultItem]) -> list[Message]:
    """The conversation, in which calls belong to what the assistant said before them."""
    messages = [] if instructions is None else [Message.model_construct(role="system", content=instructions)]
    calls: list[ToolCall] | None = None
    for item in items:
        if isinstance(item, CallItem):
            if calls is None:
                calls = []
                said = messages.pop().text if messages and messages[-1].role == "assistant" else None
                messages.append(Message.model_construct(role="assistant", content=said, tool_calls=calls))
            called = CalledFunction(name=item.name, arguments=item.arguments)
            calls.append(ToolCall(id=item.call_id, type="function", function=called, index=None))
            continue
        calls = None
        if isinstance(item, ResultItem):
            messages.append(Message.model_construct(role="tool", content=_text(item.output), tool_call_id=item.call_id))
        else:
            messages.append(Message.model_construct(role=item.role, content=_text(item.content)))
    return messages


def _text(content: str | Sequence[TextContent]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
