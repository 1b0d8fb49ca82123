import os

import litellm

asked = {
    "model": "openai/" + os.environ["SHAREDLLM_MODEL"],
    "api_base": os.environ["SHAREDLLM_URL"],
    "api_key": os.environ["SHAREDLLM_KEY"],
}

# Examples
import json

TURNS = [{"role": "user", "content": "Who came to the door?"}]
SCHEMA = {
    "type": "object",
    "properties": {"loud": {"type": "boolean"}},
    "required": ["loud"],
    "additionalProperties": False,
}

answer = litellm.completion(messages=TURNS, max_tokens=12, **asked)
assert answer.usage.completion_tokens > 0
print("chat")

assert sum(1 for _ in litellm.completion(messages=TURNS, max_tokens=12, stream=True, **asked)) > 1
print("stream")

schema = {"type": "json_schema", "json_schema": {"name": "bell", "strict": True, "schema": SCHEMA}}
held = litellm.completion(messages=TURNS, max_tokens=60, response_format=schema, **asked)
assert type(json.loads(held.choices[0].message.content)["loud"]) is bool
print("structured output")

tools = [{"type": "function", "function": {"name": "ring", "parameters": SCHEMA}}]
called = litellm.completion(
    messages=TURNS, max_tokens=200, tools=tools, tool_choice="required", parallel_tool_calls=False, **asked
)
assert called.choices[0].message.tool_calls[0].function.name == "ring"
print("tools")

assert litellm.text_completion(prompt="Once", max_tokens=8, **{**asked, "model": "text-completion-" + asked["model"]})
print("completions")

assert litellm.responses(input="Who came to the door?", max_output_tokens=12, **asked).usage.output_tokens > 0
print("responses")
