import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const sharedllm = createOpenAICompatible({
  name: "sharedllm",
  baseURL: process.env.SHAREDLLM_URL,
  apiKey: process.env.SHAREDLLM_KEY,
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const model = sharedllm(process.env.SHAREDLLM_MODEL);

// Examples
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";

const prompt = "Who came to the door?";
const schema = jsonSchema({
  type: "object",
  properties: { loud: { type: "boolean" } },
  required: ["loud"],
  additionalProperties: false,
});

const text = await generateText({ model, prompt, maxOutputTokens: 12 });
assert(text.usage.outputTokens > 0);
console.log("chat");

const streamed = streamText({ model, prompt, maxOutputTokens: 12 });
for await (const part of streamed.fullStream) if (part.type === "error") throw part.error;
assert((await streamed.usage).outputTokens > 0);
console.log("stream");

const { output } = await generateText({ model, prompt, output: Output.object({ schema }), maxOutputTokens: 60 });
assert.equal(typeof output.loud, "boolean");
console.log("structured output");

const tools = { ring: tool({ description: "Ring.", inputSchema: schema, execute: async () => "Ding." }) };
const called = await generateText({ model, prompt, tools, toolChoice: "required", maxOutputTokens: 400 });
assert.equal(called.toolResults[0].output, "Ding.");
console.log("tools");

const openai = createOpenAI({ baseURL: process.env.SHAREDLLM_URL, apiKey: process.env.SHAREDLLM_KEY });
const responses = openai.responses(process.env.SHAREDLLM_MODEL);
const response = await generateText({ model: responses, prompt, maxOutputTokens: 12 });
assert(response.usage.outputTokens > 0);
console.log("responses");

const events = streamText({ model: responses, prompt, tools, toolChoice: "required", maxOutputTokens: 400 });
for await (const part of events.fullStream) if (part.type === "error") throw part.error;
assert.equal((await events.toolResults)[0].output, "Ding.");
console.log("responses, streamed with tools");
