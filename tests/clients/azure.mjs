// Runs one use of the openai SDK, named by the first argument, against the proxy given in the environment, and prints
// what the SDK received as JSON; test_javascript.py compares that with the record.
import OpenAI, { AzureOpenAI, toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { PROXY_URL: endpoint, PROXY_KEY: apiKey, TRACEPARENT: traceparent, SIMULATE: simulate } = process.env;
const settings = {
  apiKey,
  maxRetries: 0,
  defaultHeaders: { traceparent, ...(simulate && { "x-simulate": simulate }) },
};
const azure = new AzureOpenAI({ endpoint, apiVersion: "2024-10-21", ...settings });
const v1 = new OpenAI({ baseURL: `${endpoint}/openai/v1`, ...settings });
const model = "gpt-4.1-mini";
const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", function: { name: "weather", description: "Tells the weather.", parameters } };
const Place = z.object({ name: z.string(), height: z.number().int() });
const calls = (message) =>
  message.tool_calls.map(({ id, function: called }) => ({ id, name: called.name, arguments: called.arguments }));

async function gather(events) {
  const chunks = [];
  for await (const chunk of events) chunks.push(chunk);
  return {
    content: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
    chunks: chunks.length,
    usage: chunks.findLast((chunk) => chunk.usage)?.usage ?? null,
    empty: chunks.filter((chunk) => chunk.choices.length === 0).length,
  };
}

const uses = {
  async json() {
    const { data, response } = await azure.chat.completions
      .create({ model, messages: user("What is a trace? ✨"), temperature: 0.5 })
      .withResponse();
    const { id, usage, choices } = data;
    return { id, usage, content: choices[0].message.content, trace: response.headers.get("x-trace-id") };
  },
  async stream() {
    const asked = { model, messages: user("What is latency?"), stream: true, stream_options: { include_usage: true } };
    return gather(await azure.chat.completions.create(asked));
  },
  async streamWithoutUsage() {
    return gather(await azure.chat.completions.create({ model, messages: user("What is latency?"), stream: true }));
  },
  async v1() {
    return gather(await v1.chat.completions.create({ model, messages: user("Hello"), stream: true }));
  },
  async tools() {
    const asked = { model, messages: user("Weather in two places? [parallel]"), tools: [weather] };
    return { tool_calls: calls((await azure.chat.completions.create(asked)).choices[0].message) };
  },
  async streamedTools() {
    const asked = { model, messages: user("Weather in two places? [parallel]"), tools: [weather] };
    return { tool_calls: calls((await azure.chat.completions.stream(asked).finalChatCompletion()).choices[0].message) };
  },
  async agent() {
    const run = { ...weather.function, parse: JSON.parse, function: ({ city }) => `sunny in ${city}` };
    const tools = [{ type: "function", function: run }];
    const runner = azure.chat.completions.runTools({ model, messages: user("Weather?"), tools });
    const content = await runner.finalContent();
    return { content, messages: runner.messages.map(({ role }) => role) };
  },
  async structured() {
    const response_format = zodResponseFormat(Place, "place");
    const answer = await azure.chat.completions.parse({ model, messages: user("A place"), response_format });
    return { parsed: answer.choices[0].message.parsed };
  },
  async embeddings() {
    const { data, usage } = await azure.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two 2"] });
    return { usage, lengths: data.map(({ embedding }) => embedding.length), isNumber: data[0].embedding[0] < 1 };
  },
  async responses() {
    const { id, output_text, usage } = await azure.responses.create({ model, input: "Hello", instructions: "Be brief." });
    return { id, output_text, usage };
  },
  async streamedResponses() {
    const types = [];
    const stream = v1.responses.stream({ model, input: "A place", text: { format: zodTextFormat(Place, "place") } });
    for await (const { type } of stream) types.push(type);
    const { id, output_text, output_parsed, usage } = await stream.finalResponse();
    return { id, output_text, output_parsed, usage, events: types.length, last: types.at(-1) };
  },
  async upload() {
    const file = await toFile(Buffer.alloc(1 << 20, "sound"), "sound.wav");
    return { text: (await azure.audio.transcriptions.create({ model: "whisper", file })).text };
  },
  async fail() {
    return azure.chat.completions.create({ model: process.env.MODEL ?? model, messages: user(process.env.PROMPT ?? "Hi") });
  },
  async failInStream() {
    let content = "";
    const events = await azure.chat.completions.create({ model, messages: user("Hello"), stream: true });
    try {
      for await (const chunk of events) content += chunk.choices[0]?.delta?.content ?? "";
    } catch (fault) {
      return { content, ...told(fault) };
    }
  },
  async leave() {
    let content = "";
    const events = await azure.chat.completions.create({ model, messages: user("Hello"), stream: true });
    for await (const chunk of events) {
      content += chunk.choices[0]?.delta?.content ?? "";
      if (content) break;
    }
    return { content, aborted: events.controller.signal.aborted };
  },
};

function told(fault) {
  const headers = Object.fromEntries(fault.headers ?? []);
  return { class: fault.constructor.name, status: fault.status, code: fault.code, message: fault.message, headers };
}

try {
  console.log(JSON.stringify(await uses[process.argv[2]]()));
} catch (fault) {
  if (!(fault instanceof OpenAI.APIError)) throw fault;
  console.log(JSON.stringify(told(fault)));
}
