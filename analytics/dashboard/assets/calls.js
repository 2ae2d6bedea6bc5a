// The table of the latest calls: it updates as calls arrive, and opens one on request.

import { count, el, lasting, moment, named } from "./words.js";

const COLUMNS = [
  ["ended (UTC)", (call) => moment(call.timestamp)],
  ["status", (call) => call.status],
  ["region", (call) => named(call.region)],
  ["deployment", (call) => named(call.deployment)],
  ["model", (call) => call.model],
  ["caller", (call) => [call.subscription_id, call.user_id || call.app_id].filter(Boolean).join(" · ") || "–"],
  ["attempts", (call) => count(call.attempts), true],
  ["first chunk", (call) => lasting(call.time_to_first_chunk_ms), true],
  ["first token", (call) => lasting(call.time_to_first_token_ms), true],
  ["latency", (call) => lasting(call.latency_ms), true],
  ["tokens in", (call) => count(call.prompt_tokens), true],
  ["out", (call) => count(call.completion_tokens), true],
];

const PAGE = 100; // the server's page size

/** The server's order: newest first. */
const later = (one, other) => one.timestamp > other.timestamp || (one.timestamp === other.timestamp && one.id > other.id);

export class Calls {
  /** `open` is called with the id of a call; `older` fetches the calls after a given one, none at the end. */
  constructor(table, more, open, older) {
    this.body = table.tBodies[0];
    this.more = more;
    this.calls = [];
    table.tHead.append(el("tr", {}, ...COLUMNS.map(([title, , number]) =>
      el("th", { className: number ? "number" : "", scope: "col" }, title))));
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !String(getSelection())) open(row.dataset.id);
    });
    this.body.addEventListener("keydown", (event) => this.#move(event));
    this.body.addEventListener("focusin", (event) => this.#reachable(event.target));
    more.addEventListener("click", async () => {
      const found = await older(this.calls.at(-1));
      this.more.hidden = !found.length;
      this.#draw([...this.calls, ...found]);
    });
  }

  /** Show the latest calls. `same`: the selection is unchanged, so older calls already shown stay. */
  show(latest, same) {
    const last = latest.at(-1);
    const joined = same && last && this.calls.some((call) => call.id === last.id);
    if (!joined) this.more.hidden = latest.length < PAGE;
    this.#draw(joined ? [...latest, ...this.calls.filter((call) => later(last, call))] : latest);
  }

  /** The id of the call `step` rows below the given one. */
  neighbour(id, step) {
    return this.calls[this.calls.findIndex((call) => call.id === id) + step]?.id;
  }

  #draw(calls) {
    const focused = document.activeElement?.closest?.("#calls tr")?.dataset.id;
    this.calls = calls;
    this.body.replaceChildren(...calls.map(row));
    const back = focused && [...this.body.rows].find((one) => one.dataset.id === focused);
    this.#reachable((back || this.body.rows[0])?.querySelector("button"));
    if (back) back.querySelector("button").focus();
  }

  /** Roving tabindex: Tab reaches one row, the arrow keys the others. */
  #reachable(button) {
    if (!button) return;
    for (const other of this.body.querySelectorAll("button[tabindex='0']")) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    const { rows } = this.body;
    const index = event.target.closest("tr").sectionRowIndex + step;
    rows[Math.max(0, Math.min(rows.length - 1, index))].querySelector("button").focus();
  }
}

function row(call) {
  const cells = COLUMNS.map(([title, of, number]) => el("td", { className: number ? "number" : "", title: of(call) }, of(call)));
  cells[0].replaceChildren(el("button", { type: "button", tabIndex: -1 }, moment(call.timestamp)));
  cells[1].classList.add("status", ...(/^\w+$/.test(call.status) ? [call.status] : []));
  const drawn = el("tr", {}, ...cells);
  drawn.dataset.id = call.id;
  return drawn;
}
