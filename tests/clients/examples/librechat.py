# librechat.yaml
#
# endpoints:
#   custom:
#     - name: sharedllm
#       baseURL: ${SHAREDLLM_URL}
#       apiKey: ${SHAREDLLM_KEY}
#       models: {fetch: true, default: [smollm2-135m-people]}
#       dropParams: [user]

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
turns = [{"role": "user", "content": "Who came to the door?"}]


def chat(**asked):
    return client.post("chat/completions", json={"model": model, "messages": turns, "max_tokens": 12, **asked})


assert client.get("models").raise_for_status().json()["data"][0]["id"] == model
print("models")

refused = chat(stream=True, user="65f1c0ffee")
assert refused.status_code == 403
assert refused.json()["error"]["code"] == "forbidden"
print("a user of its own is refused")

streamed = chat(stream=True, temperature=1, top_p=1, presence_penalty=0, frequency_penalty=0).raise_for_status()
*_, last, done = (line[6:] for line in streamed.text.splitlines() if line)
assert done == "[DONE]"
assert json.loads(last)["choices"][0]["finish_reason"]
print("chat")

named = [{"role": "system", "content": "Be brief.", "name": "instructions"}, *turns]
chat(messages=named, stream=True, stream_options={"include_usage": True}).raise_for_status()
print("named messages and usage")

chat(messages=[{"role": "user", "content": [{"type": "text", "text": "A title."}]}], stream=False).raise_for_status()
print("title")
