// The charts: for each, the rows of a view that it shows and its Vega-Lite specification, in the page's colours.

import { Drawing } from "./drawing.js";
import { compact, count, el, lasting, moment, named, percent, period, table } from "./words.js";

const OUTCOMES = [["completed", "completed", "--good"], ["aborted", "client went away", "--aborted"], ["failed", "failed", "--failed"]];
const MARKS = [["first_chunk", "first chunk", "--queue"], ["first_token", "first token", "--write"]];
const KINDS = [["prompt_tokens", "prompt", "--prompt"], ["completion_tokens", "completion", "--completion"]];
const MS = "datum.value < 1000 ? datum.value + ' ms' : format(datum.value / 1000, '~g') + ' s'";

const at = (view) => (row) => moment(row.at, view.bin_seconds < 60 ? 19 : 16);
const place = (row) => `${named(row.region)} · ${named(row.deployment)}`;
const quantiles = ([name, title]) => [
  [`${title}, median`, (row) => lasting(row[name]?.[0]), true],
  [`${title}, 95 %`, (row) => lasting(row[name]?.[1]), true],
];
const colour = (entries) => ({
  type: "nominal", title: null, legend: { orient: "top" },
  scale: { domain: entries.map(([, title]) => title), range: entries.map(([, , name]) => ({ css: name })) },
});
/** The time axis in milliseconds, rounded out to whole bars. */
const whole = (view) => {
  const bar = view.bin_seconds * 1000;
  return [Math.floor(Date.parse(view.since) / bar) * bar, Math.ceil(Date.parse(view.before) / bar) * bar];
};
const CLOCK = "utcFormat(datum.value, utchours(datum.value) + utcminutes(datum.value) + utcseconds(datum.value)" +
  " ? (utcseconds(datum.value) ? '%H:%M:%S' : '%H:%M') : '%b %-d')";
const time = (view) => ({
  type: "temporal", title: null, axis: { labelExpr: CLOCK, tickCount: 8, labelFlush: false, labelSeparation: 8 },
  scale: { type: "utc", domain: whole(view).map((ms) => ({ expr: `${ms}` })), nice: false },
});

/** The width of a median mark in the chart by region, in milliseconds. */
const thin = (view) => 0.005 * Math.max(1, ...view.by_region.flatMap((row) => MARKS.map(([name]) => row[name]?.[1] ?? 0)));

/** Each has a title, a subtitle, its rows, the columns of its table, and its specification. */
const CHARTS = [
  {
    title: "Calls and how they ended",
    subtitle: (view) => `a bar is ${period(view.bin_seconds)}`,
    rows: (view) => view.over_time,
    columns: (view) => [
      ["from (UTC)", at(view)],
      ...OUTCOMES.map(([name, title]) => [title, (row) => count(row[name]), true]),
    ],
    spec: (view) => ({
      data: {
        values: view.over_time.flatMap((row) =>
          OUTCOMES.map(([name, title], index) => {
            const below = OUTCOMES.slice(0, index).reduce((sum, [other]) => sum + row[other], 0);
            return {
              from: Date.parse(row.at), to: Date.parse(row.at) + view.bin_seconds * 1000, outcome: title,
              below, above: below + row[name], says: `${at(view)(row)}\n${title}: ${count(row[name])}`,
            };
          }).filter((one) => one.above > one.below),
        ),
      },
      mark: { type: "rect", tooltip: { signal: "datum.says" }, clip: true, x2Offset: -0.5 },
      encoding: {
        x: { field: "from", ...time(view) },
        x2: { field: "to" },
        y: { field: "below", type: "quantitative", title: null, axis: { tickCount: 4, format: "~s", tickMinStep: 1 } },
        y2: { field: "above" },
        color: { field: "outcome", ...colour(OUTCOMES) },
      },
    }),
  },
  {
    title: "Waiting, over time",
    subtitle: () => "streams: median to 95th percentile; the first chunk ends the queue",
    rows: (view) => view.over_time.filter((row) => row.first_chunk || row.first_token),
    columns: (view) => [["from (UTC)", at(view)], ...MARKS.flatMap(quantiles)],
    spec: (view) => ({
      data: {
        values: view.over_time.flatMap((row) =>
          MARKS.filter(([name]) => row[name]).map(([name, title]) => ({
            at: Date.parse(row.at) + view.bin_seconds * 500, median: row[name][0], most: row[name][1], mark: title,
            says: `${at(view)(row)}\n${title}: ${lasting(row[name][0])}, 95 % within ${lasting(row[name][1])}`,
          })),
        ),
      },
      encoding: {
        x: { field: "at", ...time(view) },
        color: { field: "mark", ...colour(MARKS) },
      },
      layer: [
        {
          mark: { type: "area", opacity: 0.16, clip: true },
          encoding: {
            y: { field: "median", type: "quantitative", title: null, axis: { tickCount: 4, labelExpr: MS } },
            y2: { field: "most" },
          },
        },
        {
          mark: { type: "line", strokeWidth: 1.6, clip: true, point: { size: 14 }, tooltip: { signal: "datum.says" } },
          encoding: { y: { field: "median", type: "quantitative" } },
        },
      ],
    }),
  },
  {
    title: "Waiting, by region and deployment",
    subtitle: () => "streams: median to 95th percentile",
    rows: (view) => view.by_region,
    columns: () => [
      ["region", (row) => named(row.region)], ["deployment", (row) => named(row.deployment)],
      ["calls", (row) => count(row.calls), true], ...MARKS.flatMap(quantiles),
    ],
    spec: (view) => ({
      data: {
        values: view.by_region.flatMap((row) =>
          MARKS.filter(([name]) => row[name]).map(([name, title]) => ({
            place: place(row), median: row[name][0], edge: row[name][0] + thin(view), most: row[name][1], mark: title,
            says: `${place(row)}, ${count(row.calls)} calls\n${title}: ${lasting(row[name][0])}, 95 % within ${lasting(row[name][1])}`,
          })),
        ),
      },
      encoding: {
        y: { field: "place", type: "nominal", title: null, sort: null, axis: { labelLimit: 200, labelOverlap: false } },
        yOffset: { field: "mark" },
        color: { field: "mark", ...colour(MARKS) },
      },
      layer: [
        {
          mark: { type: "bar", height: { band: 0.5 }, opacity: 0.35, tooltip: { signal: "datum.says" } },
          encoding: {
            x: { field: "median", type: "quantitative", title: null, scale: { zero: true }, axis: { tickCount: 5, labelExpr: MS } },
            x2: { field: "most" },
          },
        },
        {
          mark: { type: "bar", height: { band: 0.5 }, tooltip: { signal: "datum.says" } },
          encoding: { x: { field: "median", type: "quantitative" }, x2: { field: "edge" } },
        },
      ],
    }),
  },
  {
    title: "Tokens by caller",
    subtitle: (view, by) => `by ${by}; top ten`,
    rows: (view) => view.by_caller,
    columns: (view, by) => [
      [by, (row) => named(row.caller)], ["calls", (row) => count(row.calls), true],
      ...KINDS.map(([name, title]) => [`${title} tokens`, (row) => count(row[name]), true]),
    ],
    spec: (view) => ({
      data: {
        values: view.by_caller.flatMap((row) =>
          KINDS.map(([name, title], order) => ({
            caller: named(row.caller), tokens: row[name], kind: title, order,
            says: `${named(row.caller)}, ${count(row.calls)} calls\n${title}: ${count(row[name])} tokens, ` +
              `${percent(row[name], row.prompt_tokens + row.completion_tokens)} of the caller's`,
          })),
        ),
      },
      mark: { type: "bar", height: { band: 0.7 }, tooltip: { signal: "datum.says" } },
      encoding: {
        y: { field: "caller", type: "nominal", title: null, sort: null, axis: { labelLimit: 160, labelOverlap: false } },
        x: { field: "tokens", type: "quantitative", title: null, axis: { tickCount: 4, format: "~s" } },
        color: { field: "kind", ...colour(KINDS) },
        order: { field: "order" },
      },
    }),
  },
];

export class Charts {
  constructor(place, tooltip) {
    this.figures = CHARTS.map((chart) => {
      const subtitle = el("p");
      const drawn = el("div", { className: "drawn" });
      const figures = el("div");
      const details = el("details", {}, el("summary", {}, "Figures"), figures);
      place.append(el("figure", {}, el("figcaption", {}, el("h2", {}, chart.title), subtitle), drawn, details));
      const figure = { chart, subtitle, figures, details, drawing: new Drawing(drawn, tooltip, chart.title) };
      details.addEventListener("toggle", () => this.#fillTable(figure));
      return figure;
    });
    const redraw = () => this.view && this.show(this.view, this.by);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth === width) return;
      width = place.clientWidth;
      redraw();
    }).observe(place);
  }

  /** Draw a view; `by` names the field that identifies callers. */
  show(view, by) {
    [this.view, this.by] = [view, by];
    for (const figure of this.figures) {
      figure.subtitle.textContent = figure.chart.subtitle(view, by);
      figure.drawing.draw(figure.chart.spec(view));
      this.#fillTable(figure);
    }
  }

  #fillTable({ chart, figures, details }) {
    if (details.open) figures.replaceChildren(table(chart.columns(this.view, this.by), chart.rows(this.view)));
  }
}

/** The totals of the selection. */
export function totals(list, view) {
  const all = view.totals;
  const tokens = all.prompt_tokens === null ? null : all.prompt_tokens + all.completion_tokens;
  const pair = (quantile) => (quantile ? [lasting(quantile[0]), el("small", {}, `95 % within ${lasting(quantile[1])}`)] : ["–"]);
  const part = (number) => [percent(number, all.calls), el("small", {}, number === 1 ? "1 call" : `${count(number)} calls`)];
  const entries = [
    ["Calls", "", [count(all.calls), el("small", {}, `${percent(all.completed, all.calls)} completed`)]],
    ["Failed", "failed", part(all.failed)],
    ["Client went away", "", part(all.aborted)],
    ["Content filtered", "", part(all.filtered)],
    ["First chunk, median", "", pair(all.first_chunk)],
    ["First token, median", "", pair(all.first_token)],
    ["Latency, median", "", pair(all.latency)],
    ["Tokens", "", [compact(tokens), el("small", {}, `${compact(all.prompt_tokens)} in, ${compact(all.completion_tokens)} out`)]],
  ];
  list.replaceChildren(
    ...entries.map(([title, className, value]) =>
      el("div", { className }, el("dt", {}, title), el("dd", { className: all.failed ? "some" : "" }, ...value)),
    ),
  );
}
