// The page: asks the server for a view when the reader chooses, and again and again for what is new in it.

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
const call = new Call(at("call"), fetchCall, (id, step) => calls.beside(id, step));
const calls = new Calls(at("calls"), at("older"), (id) => call.open(id), fetchOlder);

let asking = null; // what is being asked just now, to be given up when something else is
let shown = { query: null, tag: "" };
let timer = 0;

at("nothing").querySelector("button").addEventListener("click", () => {
  filters.showAll();
  ask();
});
document.addEventListener("visibilitychange", () => document.hidden || ask());
ask().then(() => call.openNamed());

/** Ask for the view of what is chosen now, and go on asking from then on. */
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
      show(await answer(response), same);
      shown = { query, tag: response.headers.get("etag") };
    }
    fault("");
  } catch (failure) {
    if (mine.signal.aborted) return;
    fault(failure instanceof TypeError ? "The page's server does not answer. Trying again …" : failure.message);
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
    : "The table is empty. Calls appear here by themselves, a few seconds after they end.";
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
  return (await answer(await fetch(`/api/calls?${query}`))).calls;
}

async function fetchCall(id) {
  return answer(await fetch(`/api/call?${new URLSearchParams({ id })}`));
}

/** The JSON of an answer. Throws an Error that says why there is none. */
async function answer(response) {
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}
