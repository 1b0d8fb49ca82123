"""What may be asked of the two endpoints. Everything else is refused by its name, never ignored.

Parameters that OpenAI has and we do not are accepted at a value that changes nothing, as some clients always send them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from sharedllm.http.protocol.strict import Name, Strict, Unsupported
from sharedllm.serving.request import DEFAULT_SAMPLING, MOST_BIAS, MOST_PENALTY, MOST_REPETITION

SEED_LIMIT = 2**63
MOST_BIASES = 1024

Stop = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
# One mistake ends the reading of a list: each takes more memory to tell than to make.
TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Prompts = Field(min_length=1, max_length=1024, fail_fast=True)


class StreamOptions(Strict):
    """How a stream ends."""

    unsupported: ClassVar[Unsupported] = {"include_obfuscation": (False,)}

    include_usage: bool | None = Field(None, description="Whether a last chunk tells the token counts.")
    continuous_usage_stats: bool | None = Field(None, description="And every chunk those so far, as vLLM does.")

    @model_validator(mode="after")
    def _all_of_them_or_the_last(self) -> Self:
        if self.continuous_usage_stats and not self.include_usage:
            raise PydanticCustomError("stream_options", "continuous_usage_stats needs include_usage to be true")
        return self


class Extensions(Strict):
    """What this server has beyond OpenAI's; the Python client sends it in ``extra_body``."""

    glass_box: bool | None = Field(None, description="Tell every new token's log-probability with and without adapter.")
    base_only: bool | None = Field(None, description="Have the base answer, or its prior, without the user's release.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which the request ends with an error.")


def _token_biases(value: Any) -> Any:
    """OpenAI's map from ids, which JSON spells as strings, checked here: a mistake is told without its key."""
    if value is None:
        return None
    kept = isinstance(value, dict) and len(value) <= MOST_BIASES
    if not kept or not all(key.isdecimal() and key.isascii() and len(key) < 10 for key in value):
        raise PydanticCustomError("logit_bias", "it maps at most {most} token ids to numbers", {"most": MOST_BIASES})
    biases = {int(key): bias for key, bias in value.items()}
    if not all(type(bias) in (int, float) and abs(bias) <= MOST_BIAS for bias in biases.values()):
        raise PydanticCustomError("logit_bias", "a bias is between -{most} and {most}", {"most": f"{MOST_BIAS:g}"})
    return biases


def _labels(value: Any) -> Any:
    """OpenAI's metadata, as its reference bounds them."""
    if value is None:
        return None
    if (
        not isinstance(value, dict)
        or len(value) > 16
        or not all(isinstance(label, str) and len(label) <= 512 for label in value.values())
        or max(map(len, value), default=0) > 64
    ):
        raise PydanticCustomError("metadata", "it has at most 16 pairs of texts, of 64 and 512 characters")
    return value


Biases = Annotated[dict[int, float], BeforeValidator(_token_biases)]
MetadataLabels = Annotated[dict[str, str], BeforeValidator(_labels)]


class Drawn(Strict):
    """What every request for an answer may say."""

    model: str = Field(max_length=1024, description="The id from /v1/models.")
    user: str | None = Field(None, description="For whom a service key asks; with another key, its own user or nobody.")
    stream: bool | None = None
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
    stop: Stop | Annotated[list[Stop], Field(max_length=4, fail_fast=True)] | None = None
    seed: int | None = Field(None, ge=-SEED_LIMIT, lt=SEED_LIMIT, description="Random by default, and told.")
    top_k: int | None = Field(None, ge=-1, lt=2**31, description="Draw among so many likeliest; -1 and 0 are all.")
    presence_penalty: float | None = Field(None, ge=-MOST_PENALTY, le=MOST_PENALTY)
    frequency_penalty: float | None = Field(None, ge=-MOST_PENALTY, le=MOST_PENALTY)
    repetition_penalty: float | None = Field(
        None, ge=1 / MOST_REPETITION, le=MOST_REPETITION, description="1 changes nothing; of the prompt's tokens, too."
    )
    logit_bias: Biases | None = Field(None, description="Added to the logits of these token ids.")
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64, fail_fast=True)] | None = None
    ignore_eos: bool | None = Field(None, description="Go on after an end token of the base.")
    sharedllm: Extensions | None = None

    @property
    def drawn(self) -> dict[str, Any]:
        """What is said of how tokens are drawn; the rest is as by default."""
        names = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
        said = {name: getattr(self, name) for name in names}
        said["top_k"] = None if self.top_k is None else max(self.top_k, 0)
        said["logit_bias"] = tuple(sorted(self.logit_bias.items())) if self.logit_bias else None
        return {name: value for name, value in said.items() if value is not None}

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def extensions(self) -> Extensions:
        return self.sharedllm or Extensions()  # type: ignore[call-arg]


class Common(Drawn):
    """What chat and completions share."""

    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=8)

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options needs stream to be true")
        return self

    @property
    def tells_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def tells_usage_so_far(self) -> bool:
        return bool(self.stream_options and self.stream_options.continuous_usage_stats)


OTHER_SERVERS: Unsupported = {
    "min_tokens": (0,),
    "length_penalty": (1,),
    "early_stopping": (False,),
    "use_beam_search": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "include_stop_str_in_output": (False,),
    "bad_words": ([],),
    "typical_p": (1,),
    "repeat_penalty": (1,),
    "top_a": (0,),
}
"""How other servers let tokens be drawn and written, which their clients send."""


class CompletionRequest(Common):
    """The body of ``POST /v1/completions``."""

    unsupported: ClassVar[Unsupported] = {**OTHER_SERVERS, "suffix": ("",)}

    prompt: str | TokenIds | Annotated[list[str], Prompts] | Annotated[list[TokenIds], Prompts]
    max_tokens: int | None = Field(None, ge=0, description="16 by default; 0 with echo and logprobs scores the prompt.")
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20, description="How many of the likeliest tokens to tell beside each.")
    best_of: int | None = Field(
        None, ge=1, le=8, description="Answers that are drawn, of which the n likeliest a token are told; n by default."
    )

    @model_validator(mode="after")
    def _scores_come_last(self) -> Self:
        if self.stream and self.echo and self.logprobs is not None:
            raise PydanticCustomError("echo", "echo with logprobs cannot be streamed")
        return self

    @model_validator(mode="after")
    def _the_best_are_of_all(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise PydanticCustomError("best_of", "best_of is less than n")
        if self.stream and self.best_of is not None and self.best_of > (self.n or 1):
            raise PydanticCustomError("best_of", "which answers are the best of more cannot be known in a stream")
        return self


class TextPart(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class CalledFunction(Strict):
    """What was called, with what."""

    name: Name
    arguments: str = Field(description="JSON, as the assistant wrote it.")


class ToolCall(Strict):
    """A call that the assistant made."""

    id: str = Field(max_length=256)
    type: Literal["function"]
    function: CalledFunction
    index: int | None = Field(None, description="As streams tell it; taken and not read.")


class Message(Strict):
    """One message."""

    unsupported: ClassVar[Unsupported] = {"refusal": (), "audio": (), "function_call": (), "annotations": ([],)}

    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(
        description="developer is read as system."
    )
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = Field(
        description="null is nothing, and for an assistant alone."
    )
    name: str | None = Field(
        None, max_length=64, description="Taken and not read: chat templates have no place for it."
    )
    tool_calls: Annotated[list[ToolCall], Field(max_length=128, fail_fast=True)] | None = None
    tool_call_id: str | None = Field(None, max_length=256, description="Which call a tool's message answers.")

    @model_validator(mode="before")
    @classmethod
    def _calls_say_enough(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("tool_calls") and "content" not in data:
            return {**data, "content": None}
        return data

    @model_validator(mode="after")
    def _somebody_says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise PydanticCustomError("content", "only an assistant's content may be null")
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("tool_calls", "only an assistant calls tools")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise PydanticCustomError("tool_call_id", "a tool's message says which call it answers, and no other does")
        return self

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)


class Function(Strict):
    """A function that the assistant may call."""

    name: Name
    description: str | None = Field(None, max_length=16_384)
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of its arguments; none by default.")
    strict: bool | None = Field(None, description="Arguments always follow the schema.")


class Tool(Strict):
    """What the assistant may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """A function by its name."""

    name: Name


class NamedTool(Strict):
    """What the assistant has to call."""

    type: Literal["function"]
    function: NamedFunction


class JSONSchema(Strict):
    """What an answer is held to."""

    name: Name
    description: str | None = Field(None, max_length=16_384)
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="By default any JSON object.")
    strict: bool | None = Field(None, description="The answer always follows the schema.")


class ResponseFormat(Strict):
    """How an answer is written."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None

    @model_validator(mode="after")
    def _a_schema_is_said(self) -> Self:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise PydanticCustomError("json_schema", "json_schema comes with the type json_schema, and with no other")
        return self

    @property
    def held_to(self) -> Mapping[str, Any] | None:
        """The JSON Schema that an answer follows; None where it may say anything."""
        if self.type == "text":
            return None
        given = self.json_schema.schema_ if self.json_schema is not None else None
        return {"type": "object"} if given is None else given


class ChatRequest(Common):
    """The body of ``POST /v1/chat/completions``."""

    unsupported: ClassVar[Unsupported] = {
        **OTHER_SERVERS,
        "best_of": (1,),
        "echo": (False,),
        "chat_template_kwargs": ({},),
        "documents": ([],),
        "functions": ([],),
        "function_call": ("none",),
        "modalities": (["text"],),
        "audio": (),
        "prediction": (),
        "reasoning_effort": ("none",),
        "verbosity": (),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "web_search_options": (),
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=2048, fail_fast=True)]
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="The newer name of max_tokens.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = Field(None, description="auto by default.")
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may have several calls; by default.")
    metadata: MetadataLabels | None = Field(None, description="Taken and not kept.")
    prompt_cache_key: str | None = Field(None, max_length=1024, description="Taken and not needed.")
    safety_identifier: str | None = Field(None, max_length=1024, description="Taken and not kept.")
    add_generation_prompt: bool | None = Field(
        None, description="Whether the assistant's turn is begun after the messages; true by default."
    )
    continue_final_message: bool | None = Field(
        None, description="Whether the answer goes on from the last message, which is then the assistant's."
    )

    @property
    def functions(self) -> list[Function]:
        """Those that may be called."""
        if self.tool_choice == "none":
            return []
        functions = [tool.function for tool in self.tools or ()]
        if isinstance(self.tool_choice, NamedTool):
            name = self.tool_choice.function.name
            return [each for each in functions if each.name == name]
        return functions

    @model_validator(mode="after")
    def _tools_can_be_told_apart_and_chosen(self) -> Self:
        return self.checked()

    def checked(self) -> Self:
        """The same, once its tools can be told apart and chosen.

        Raises:
            PydanticCustomError: they cannot.
        """
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise PydanticCustomError("tools", "two tools have the same name")
        if self.tool_choice not in (None, "none", "auto") and not self.functions:
            raise PydanticCustomError("tool_choice", "tool_choice asks for a call of what is not among the tools")
        if self.functions and self.response_format is not None and self.response_format.type != "text":
            raise PydanticCustomError("response_format", "an answer calls tools or follows response_format, not both")
        if self.functions and self.continue_final_message:
            raise PydanticCustomError("continue_final_message", "an answer that may call tools begins anew")
        return self

    @model_validator(mode="after")
    def _only_the_assistant_goes_on(self) -> Self:
        if self.continue_final_message:
            if self.add_generation_prompt:
                raise PydanticCustomError(
                    "continue_final_message", "continue_final_message needs add_generation_prompt to be false"
                )
            if self.messages[-1].role != "assistant":
                raise PydanticCustomError(
                    "continue_final_message", "continue_final_message needs the assistant to have said something last"
                )
        return self

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError("max_tokens", "max_tokens and max_completion_tokens differ; give one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs needs logprobs to be true")
        return self
