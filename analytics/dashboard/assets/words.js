// Formats numbers and times, and creates elements. All text is set as text; no code parses markup.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const share = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));
export const compact = (value) => (value === null || value === undefined ? "–" : short.format(value));
export const percent = (part, all) => (all ? share.format(part / all) : "–");

/** A duration for display: 85 ms, 2.41 s, 1 min 10 s. */
export function lasting(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

/** A period in its largest whole unit: a day, 5 minutes. */
export function period(seconds) {
  const [size, name] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([size]) => seconds % size === 0);
  return seconds === size ? `${name === "hour" ? "an" : "a"} ${name}` : `${seconds / size} ${name}s`;
}

/** The server's 2024-11-13T06:59:30.584946Z as 2024-11-13 06:59:30. */
export const moment = (text, digits = 19) => (text ? text.replace("T", " ").slice(0, digits) : "–");

/** Text, with a placeholder if it is unknown. */
export const named = (text) => text || "(unknown)";

/** An element; `properties` are DOM properties, children are elements or text. */
export function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** A table of rows; each column is [title, cell, isNumber]. */
export function table(columns, rows) {
  const cell = (name, number, text) => el(name, { className: number ? "number" : "" }, text);
  return el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...columns.map(([title, , number]) => cell("th", number, title)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map(([, of, number]) => cell("td", number, of(row)))))),
  );
}
