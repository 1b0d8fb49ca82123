# Settings, Connections, OpenAI: the address is SHAREDLLM_URL, the key is SHAREDLLM_KEY.

# Examples
import json
import os

import httpx

client = httpx.Client(
    base_url=os.environ["SHAREDLLM_URL"] + "/",
    headers={"Authorization": f"Bearer {os.environ['SHAREDLLM_KEY']}"},
    timeout=60,
)
model = os.environ["SHAREDLLM_MODEL"]
turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who came to the door?"}]


def chat(**asked):
    return client.post("chat/completions", json={"model": model, "max_tokens": 12, **asked}).raise_for_status()


assert [each["id"] for each in client.get("models").raise_for_status().json()["data"]] == [model]
print("models")

streamed = chat(stream=True, messages=turns, stream_options={"include_usage": True}, temperature=0.8, top_p=0.9)
*_, last, done = (line[6:] for line in streamed.text.splitlines() if line)
assert done == "[DONE]"
assert json.loads(last)["usage"]["completion_tokens"] > 0
print("chat")

title = chat(stream=False, messages=[{"role": "user", "content": "### Task:\nA title, as JSON."}], max_tokens=50)
assert title.json()["choices"][0]["message"]["role"] == "assistant"
print("title")

parts = [{"type": "text", "text": "Who came to the door?"}]
chat(stream=False, messages=[{"role": "user", "content": parts}], seed=1, stop=["\n"], frequency_penalty=0.1)
print("parts of text and parameters")

arguments = {"type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"]}
tools = [{"type": "function", "function": {"name": "ring", "description": "Ring.", "parameters": arguments}}]
call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "ring", "arguments": '{"loud": true}'}}
said = {"role": "assistant", "content": "", "tool_calls": [call]}
chat(stream=True, tools=tools, messages=[*turns, said, {"role": "tool", "tool_call_id": "call_1", "content": "Ding."}])
print("tools")
