import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.SHAREDLLM_URL, apiKey: process.env.SHAREDLLM_KEY });
const model = process.env.SHAREDLLM_MODEL;

// Examples
import assert from "node:assert";

const messages = [{ role: "user", content: "Who came to the door?" }];
const schema = {
  type: "object",
  properties: { loud: { type: "boolean" } },
  required: ["loud"],
  additionalProperties: false,
};

for await (const each of client.models.list()) assert.equal(each.id, model);
console.log("models");

const answer = await client.chat.completions.create({ model, messages, max_tokens: 12 });
assert.equal(answer.choices[0].message.role, "assistant");
console.log("chat");

let last;
for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 12, stream: true }))
  last = chunk;
assert(last.choices[0].finish_reason);
console.log("stream");

const format = { type: "json_schema", json_schema: { name: "bell", strict: true, schema } };
const parsed = await client.chat.completions.parse({ model, messages, response_format: format, max_tokens: 60 });
assert.equal(typeof parsed.choices[0].message.parsed.loud, "boolean");
console.log("structured output");

const called = await client.chat.completions.create({
  model,
  messages,
  tools: [{ type: "function", function: { name: "ring", parameters: schema } }],
  tool_choice: "required",
  parallel_tool_calls: false,
  max_tokens: 200,
});
assert.equal(called.choices[0].message.tool_calls[0].function.name, "ring");
console.log("tools");

const response = await client.responses.create({ model, input: "Who came to the door?", max_output_tokens: 12 });
assert.equal(typeof response.output_text, "string");
console.log("responses");

const events = client.responses.stream({ model, input: "Who came to the door?", max_output_tokens: 12 });
const final = await events.finalResponse();
assert(final.usage.output_tokens > 0);
console.log("responses, streamed");
