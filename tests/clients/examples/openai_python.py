import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["SHAREDLLM_URL"], api_key=os.environ["SHAREDLLM_KEY"])
model = os.environ["SHAREDLLM_MODEL"]

# Examples
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Bell(BaseModel):
    model_config = ConfigDict(extra="forbid")
    loud: bool
    kind: Literal["door", "ship"]


TURNS = [{"role": "user", "content": "Who came to the door?"}]
PARAMETERS = {**Bell.model_json_schema(), "additionalProperties": False}
TOOL = {"name": "ring", "parameters": PARAMETERS}

assert model in [each.id for each in client.models.list()]
print("models")

answer = client.chat.completions.create(model=model, messages=TURNS, max_tokens=12)
assert answer.choices[0].message.role == "assistant"
print("chat")

chunks = list(client.chat.completions.create(model=model, messages=TURNS, max_tokens=12, stream=True))
assert chunks[-1].choices[0].finish_reason
print("stream")

parsed = client.chat.completions.parse(model=model, messages=TURNS, response_format=Bell, max_tokens=60)
assert isinstance(parsed.choices[0].message.parsed, Bell)
print("structured output")

called = client.chat.completions.create(
    model=model,
    messages=TURNS,
    tools=[{"type": "function", "function": TOOL}],
    tool_choice="required",
    parallel_tool_calls=False,
    max_tokens=200,
)
Bell.model_validate_json(called.choices[0].message.tool_calls[0].function.arguments)
print("tools")

told = client.completions.create(model=model, prompt="Once", max_tokens=8, logprobs=2)
assert len(told.choices[0].logprobs.tokens) == told.usage.completion_tokens
print("completions")

response = client.responses.create(model=model, input="Who came to the door?", instructions="Be brief.")
assert response.status in ("completed", "incomplete")
print("responses")

with client.responses.stream(model=model, input="Who came?", text_format=Bell, max_output_tokens=60) as stream:
    assert isinstance(stream.get_final_response().output_parsed, Bell)
print("responses, streamed and structured")

asked = client.responses.create(
    model=model, input="Ring.", tools=[{"type": "function", "strict": True, **TOOL}], tool_choice="required",
    parallel_tool_calls=False, max_output_tokens=200,
)  # fmt: skip
(call,) = asked.output
result = {"type": "function_call_output", "call_id": call.call_id, "output": "Ding."}
client.responses.create(model=model, input=[{"role": "user", "content": "Ring."}, call, result], max_output_tokens=8)
print("responses with tools")
