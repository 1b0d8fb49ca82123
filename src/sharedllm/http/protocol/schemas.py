"""What may be asked of the two endpoints. Everything else is refused by its name, never ignored.

Parameters that OpenAI has and we do not are accepted at a value that changes nothing, as some clients always send them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sharedllm.serving.request import DEFAULT_SAMPLING

SEED_LIMIT = 2**63

Stop = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
# One mistake ends the reading of a list: each takes more memory to tell than to make.
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Prompts = Field(min_length=1, max_length=1024, fail_fast=True)


class Strict(BaseModel):
    """Refuses unknown parameters, other types, and parameters that are known but not supported."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    unsupported: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """Names, and the values beside null that change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        # The first alone, where pydantic would tell all.
        for name in data:
            if name not in cls.model_fields and name not in cls.unsupported:
                raise PydanticCustomError("unknown_parameter", "{name} is not a parameter here", {"name": name})
        for name, neutral in cls.unsupported.items():
            if data.get(name) is not None and data[name] not in neutral:
                raise PydanticCustomError("unsupported_parameter", "{name} is not supported", {"name": name})
        return {name: value for name, value in data.items() if name not in cls.unsupported}


class StreamOptions(Strict):
    """How a stream ends."""

    unsupported = {"include_obfuscation": (False,)}

    include_usage: bool | None = Field(None, description="Whether a last chunk tells the token counts.")


class Extensions(Strict):
    """What this server has beyond OpenAI's; the Python client sends it in ``extra_body``."""

    glass_box: bool | None = Field(None, description="Tell every new token's log-probability with and without adapter.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which the request ends with an error.")


class Common(Strict):
    """What chat and completions share."""

    model: str = Field(max_length=1024, description="The id from /v1/models.")
    user: str | None = Field(None, description="For whom a service key asks; with another key, its own user or nobody.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(
        None, ge=0, le=2, description=f"{DEFAULT_SAMPLING.temperature:g} by default; 0 takes the likeliest token."
    )
    top_p: float | None = Field(None, ge=0, le=1, description=f"{DEFAULT_SAMPLING.top_p:g} by default.")
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f"Least share of the likeliest token's probability; {DEFAULT_SAMPLING.min_p:g} by default.",
    )
    n: int | None = Field(None, ge=1, le=8)
    stop: Stop | Annotated[list[Stop], Field(max_length=4, fail_fast=True)] | None = None
    seed: int | None = Field(None, ge=-SEED_LIMIT, lt=SEED_LIMIT, description="Random by default, and told.")
    sharedllm: Extensions | None = None

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options needs stream to be true")
        return self

    @property
    def drawn(self) -> dict[str, float]:
        """What is said of how tokens are drawn; the rest is as by default."""
        said = {"temperature": self.temperature, "top_p": self.top_p, "min_p": self.min_p}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def extensions(self) -> Extensions:
        return self.sharedllm or Extensions()  # type: ignore[call-arg]

    @property
    def tells_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


_PENALTIES: Mapping[str, Sequence[Any]] = {"frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},)}


class CompletionRequest(Common):
    """The body of ``POST /v1/completions``."""

    unsupported = {**_PENALTIES, "best_of": (1,), "suffix": ("",)}

    prompt: str | TokenIds | Annotated[list[str], Prompts] | Annotated[list[TokenIds], Prompts]
    max_tokens: int | None = Field(None, ge=0, description="16 by default; 0 with echo and logprobs scores the prompt.")
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20, description="How many of the likeliest tokens to tell beside each.")

    @model_validator(mode="after")
    def _scores_come_last(self) -> Self:
        if self.stream and self.echo and self.logprobs is not None:
            raise PydanticCustomError("echo", "echo with logprobs cannot be streamed")
        return self


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One message; what only an assistant with tools would say is refused."""

    unsupported = {
        "name": (),
        "refusal": (),
        "audio": (),
        "tool_calls": ([],),
        "function_call": (),
        "annotations": ([],),
        "tool_call_id": (),
    }

    role: Literal["system", "developer", "user", "assistant"] = Field(description="developer is read as system.")
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(Common):
    """The body of ``POST /v1/chat/completions``."""

    unsupported = {
        **_PENALTIES,
        "tools": ([],),
        "tool_choice": ("none",),
        "parallel_tool_calls": (True, False),
        "functions": ([],),
        "function_call": ("none",),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "audio": (),
        "prediction": (),
        "reasoning_effort": ("none",),
        "verbosity": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "metadata": ({},),
        "web_search_options": (),
        "prompt_cache_key": (),
        "safety_identifier": (),
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=2048, fail_fast=True)]
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of max_tokens.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError("max_tokens", "max_tokens and max_completion_tokens differ; give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs needs logprobs to be true")
        return self
