// The page: requests a view when the selection changes, and polls for new calls.

import { Call } from "./call.js";
import { Calls } from "./calls.js";
import { Charts, totals } from "./charts.js";
import { Filters } from "./filters.js";
import { count, moment } from "./words.js";

const POLL_MS = 1500;
const at = (id) => document.getElementById(id);

const main = document.querySelector("main");
const filters = new Filters(at("filters"), () => ask());
const charts = new Charts(at("charts"), at("tooltip"));
const call = new Call(at("call"), fetchCall, (id, step) => calls.neighbour(id, step));
const calls = new Calls(at("calls"), at("older"), (id) => call.open(id), fetchOlder);

let asking = null; // the request in flight; a new one aborts it
let shown = { query: null, tag: "" };
let timer = 0;

at("nothing").querySelector("button").addEventListener("click", () => {
  filters.showAll();
  ask();
});
document.addEventListener("visibilitychange", () => document.hidden || ask());
ask().then(() => call.openNamed());

/** Request the view of the current selection, and keep polling. */
async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const query = filters.query().toString();
  const same = query === shown.query;
  if (!same) main.ariaBusy = "true";
  try {
    const headers = same ? { "if-none-match": shown.tag } : {};
    const response = await fetch(`/api/view?${query}`, { headers, signal: mine.signal, cache: "no-store" });
    if (response.status !== 304) {
      show(await json(response), same);
      shown = { query, tag: response.headers.get("etag") };
    }
    fault("");
  } catch (failure) {
    if (mine.signal.aborted) return;
    fault(failure instanceof TypeError ? "The server does not respond. Retrying …" : failure.message);
  } finally {
    if (mine === asking) {
      main.ariaBusy = "false";
      if (!document.hidden) timer = setTimeout(ask, POLL_MS);
    }
  }
}

function show(view, same) {
  const { table } = view;
  filters.offer(view.choices);
  at("table").textContent = table.calls ? `${count(table.calls)} calls, newest ${moment(table.last)} UTC` : "no calls yet";
  const some = view.totals.calls > 0;
  at("something").hidden = !some;
  at("nothing").hidden = some;
  calls.show(view.calls, same);
  if (some) {
    totals(at("totals"), view);
    charts.show(view, filters.by);
    return;
  }
  const [title, text] = at("nothing").querySelectorAll("h2, p");
  title.textContent = table.calls ? "No calls in this selection" : "No calls yet";
  text.textContent = table.calls
    ? `The table holds ${count(table.calls)}, from ${moment(table.first)} to ${moment(table.last)} UTC.`
    : "The table is empty. Calls appear here a few seconds after they end.";
  at("nothing").querySelector("button").hidden = !table.calls;
}

function fault(text) {
  at("fault").hidden = !text;
  if (at("fault").textContent !== text) at("fault").textContent = text;
}

async function fetchOlder(last) {
  const query = filters.query();
  query.set("last_at", last.timestamp);
  query.set("last_id", last.id);
  return (await json(await fetch(`/api/calls?${query}`))).calls;
}

async function fetchCall(id) {
  return json(await fetch(`/api/call?${new URLSearchParams({ id })}`));
}

/** The JSON of a response. Throws an Error with the server's message if it failed. */
async function json(response) {
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}
