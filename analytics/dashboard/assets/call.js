// One call: its timeline and its record, in a dialog.

import { count, el, lasting, moment, named } from "./words.js";
import { parsed, texts } from "./content.js";

const FACTS = [
  ["Outcome", ["status", "http_status", "error_code", "error_message", "finish_reasons", "truncated", "content_bytes", "content_ref"]],
  ["Call", ["timestamp", "started_at", "type", "operation", "model", "deployment", "api_version", "region", "backend",
    "attempts", "spilled_over", "chunks", "request_bytes", "response_bytes", "service_tier", "system_fingerprint"]],
  ["Tokens", ["prompt_tokens", "cached_tokens", "audio_prompt_tokens", "completion_tokens", "reasoning_tokens",
    "audio_completion_tokens", "total_tokens", "usage_source"]],
  ["Caller", ["subscription_id", "product", "user_id", "app_id", "object_id", "session_id"]],
  ["Identity", ["id", "trace_id", "span_id", "response_id", "apim_request_id", "client_request_id", "audio_id", "schema_version"]],
];
const LONGEST = 200_000;

export class Call {
  /** `fetched` gets a record by its id; `neighbour` returns the id a number of rows below the given one. */
  constructor(dialog, fetched, neighbour) {
    this.dialog = dialog;
    this.fetched = fetched;
    this.neighbour = neighbour;
    dialog.addEventListener("close", () => {
      if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step && !event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey) this.#go(step);
    });
    addEventListener("hashchange", () => this.openNamed());
  }

  /** Open the call named in the address, if any. */
  openNamed() {
    const id = new URLSearchParams(location.hash.slice(1)).get("call");
    if (id) this.open(id);
  }

  async open(id) {
    this.id = id;
    history.replaceState(null, "", `#${new URLSearchParams({ call: id })}`);
    let shown;
    try {
      shown = body(await this.fetched(id));
    } catch (fault) {
      shown = [el("section", {}, el("p", {}, fault.message))];
    }
    if (this.id !== id) return; // another call was opened meanwhile
    this.dialog.replaceChildren(this.#head(shown.title ?? "A call", shown.under ?? ""), ...(shown.sections ?? shown));
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector("[autofocus]").focus(); // the element with the focus was replaced
    this.dialog.scrollTop = 0;
  }

  #go(step) {
    const id = this.neighbour(this.id, step);
    if (id) this.open(id);
  }

  #head(title, under) {
    const button = (text, label, act, disabled) => {
      const made = el("button", { type: "button", title: label, ariaLabel: label, disabled }, text);
      made.addEventListener("click", act);
      return made;
    };
    const steps = [["←", "Newer call", -1], ["→", "Older call", 1]].map(([text, label, step]) =>
      button(text, label, () => this.#go(step), !this.neighbour(this.id, step)));
    const close = button("Close", "Close", () => this.dialog.close(), false);
    close.autofocus = true;
    return el("header", {}, el("h2", { id: "call-title" }, title), el("nav", {}, ...steps, close), el("p", {}, under));
  }
}

function body(record) {
  const captured = texts(record);
  return {
    title: `${named(record.operation)} · ${named(record.deployment)} · ${record.status}`,
    under: `${record.model} in ${named(record.region)}, ended ${moment(record.timestamp, 23)} UTC`,
    sections: [
      section("Timeline", timeline(record)),
      ...(record.content_captured
        ? captured.length ? [section("Content", ...captured)] : []
        : [section("Content", el("p", { className: "hint" }, "The record holds no prompt and no completion: they were not captured."))]),
      ...FACTS.map(([title, names]) => [title, facts(record, names)])
        .filter(([, list]) => list.children.length)
        .map(([title, list]) => section(title, list)),
      section("Record", whole(record)),
    ],
  };
}

const section = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);

/** The phases of the call as bars: attempts, queue, wait for the first token, streaming, whole call. */
function timeline(record) {
  const { latency_ms: end, time_to_first_chunk_ms: chunk, time_to_first_token_ms: token, attempts } = record;
  if (end === null) return el("p", { className: "hint" }, "The call was interrupted: its end is unknown.");
  const known = (value) => value !== null && value !== undefined;
  const made = attemptsMade(record);
  const tries = attempts > 1 && !made.length
    ? `${attempts} requests were sent upstream in this time; the last one got the response` : "";
  const phases = made.map(({ backend, after_ms: after, http_status: status }, index) =>
    ["attempt", `${index + 1}. ${backend}`, after, made[index + 1]?.after_ms ?? chunk ?? end, status ? `HTTP ${status}` : "no response"]);
  if (known(chunk)) {
    phases.push(["queue", "Queue, to first chunk", 0, chunk, tries]);
    if (known(token)) phases.push(["wait", "To first token", chunk, token, ""]);
    const from = known(token) ? token : chunk;
    const seconds = (end - from) / 1000;
    const pace = known(token) && record.completion_tokens && seconds > 0
      ? `${count(record.completion_tokens)} tokens, ${(record.completion_tokens / seconds).toFixed(1)} a second` : "";
    phases.push(["write", known(token) ? "Streaming, to the end" : "To the end", from, end, pace]);
  }
  phases.push(["whole", { client_aborted: "Client went away" }[record.status] ?? "Whole call", 0, end, known(chunk) ? "" : tries]);
  return el("ol", { className: "timeline" }, ...phases.map((phase) => bar(phase, Math.max(end, 1))));
}

/** The record's list of requests upstream; only calls with more than one have it. */
function attemptsMade(record) {
  const made = parsed(record.attempts_made);
  return Array.isArray(made) ? made : [];
}

function bar([kind, title, from, to, note], whole) {
  const drawn = el("div", { className: "bar" });
  drawn.style.left = `${(100 * from) / whole}%`;
  drawn.style.width = `${(100 * Math.max(to - from, 0)) / whole}%`;
  const span = el("span", { className: "span", title: `from ${lasting(from)} to ${lasting(to)}` }, lasting(to - from));
  const line = el("li", { className: kind }, el("span", {}, title), el("div", { className: "track" }, drawn), span);
  if (note) line.append(el("span", { className: "note" }, note));
  return line;
}

function facts(record, names) {
  const list = el("dl", { className: "facts" });
  for (const name of names) {
    const value = record[name];
    if (value === null || value === "" || value === false) continue;
    const text = typeof value === "number" && name !== "http_status" ? count(value) : value === true ? "yes" : String(value);
    const shown = ["timestamp", "started_at"].includes(name) ? moment(text, 26) : text;
    const link = name === "trace_id" && record.trace_url?.startsWith("https://");
    const content = link ? el("a", { href: record.trace_url, target: "_blank", rel: "noreferrer" }, shown) : shown;
    list.append(el("div", {}, el("dt", {}, name), el("dd", {}, content)));
  }
  return list;
}

function whole(record) {
  const text = JSON.stringify(record, (name, value) => (value === "" || value === null || name === "trace_url" ? undefined : value), 2);
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${count(text.length - LONGEST)} characters more` : text;
  return el("details", {}, el("summary", {}, "JSON"), el("pre", { tabIndex: 0 }, cut));
}
