// The prompt and the completion of a record, as blocks of plain text.

import { count, el } from "./words.js";

const LONGEST = 200_000;

/** The blocks of a record; none if it holds no content. */
export function texts(record) {
  return [
    ...plain("instructions", parsed(record.instructions)),
    ...prompt(parsed(record.prompt)),
    ...plain("reasoning", record.reasoning),
    ...plain("completion", record.content),
    ...plain("refusal", record.refusal),
    ...plain("tool calls", parsed(record.tool_calls)),
    ...plain("all choices", parsed(record.choices)),
    ...plain("content filter", parsed(record.content_filter)),
    ...plain("more", parsed(record.more)),
  ];
}

function prompt(sent) {
  if (!Array.isArray(sent) || !sent.every((message) => message && typeof message === "object" && "role" in message)) {
    return plain("prompt", sent);
  }
  return sent.flatMap(({ role, content, ...more }) => [
    ...plain(String(role), Array.isArray(content) ? content.map(part).join("\n") : content),
    ...(Object.keys(more).length ? plain(`${role}, other fields`, more) : []),
  ]);
}

/** A part of a message: its text, or its JSON. */
const part = (one) => (typeof one?.text === "string" ? one.text : JSON.stringify(one, null, 2));

function plain(title, value) {
  if (value === null || value === undefined || value === "") return [];
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${count(text.length - LONGEST)} characters more` : text;
  return [el("div", { className: "text" }, el("h4", {}, title), el("pre", { tabIndex: 0 }, cut))];
}

/** The value of a JSON column; the text itself if it is not JSON. */
export function parsed(text) {
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
