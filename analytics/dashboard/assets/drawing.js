// One chart: compiles a Vega-Lite specification, applies the page's colours and draws it, with a plain-text tooltip.

/* global vega, vegaLite */
import { expressionInterpreter } from "./vendor/vega-interpreter.js";

const HEIGHT = 185;

export class Drawing {
  constructor(place, tooltip, title) {
    this.place = place;
    this.tooltip = tooltip;
    this.title = title;
    this.view = null;
  }

  /** Replace the drawing. */
  draw(spec) {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim();
    const coloured = JSON.parse(JSON.stringify(spec), (key, value) => (value?.css ? colour(value.css) : value));
    const whole = {
      ...coloured,
      width: this.place.clientWidth,
      height: HEIGHT,
      autosize: { type: "fit", contains: "padding" },
      config: config(colour),
    };
    const previous = this.view;
    // interpret expressions: the page's Content-Security-Policy forbids compiling them
    const parsed = vega.parse(vegaLite.compile(whole).spec, null, { ast: true });
    this.view = new vega.View(parsed, { expr: expressionInterpreter, renderer: "svg", hover: true });
    this.view.description(this.title);
    this.view.tooltip((handler, event, item, value) => this.#showTooltip(event, value));
    const drawn = document.createElement("div");
    this.view.initialize(drawn).run();
    this.place.replaceChildren(drawn);
    previous?.finalize();
  }

  #showTooltip(event, value) {
    this.tooltip.hidden = !value;
    if (!value) return;
    this.tooltip.textContent = value;
    const { offsetWidth, offsetHeight } = this.tooltip;
    const left = Math.min(event.clientX + 14, innerWidth - offsetWidth - 6);
    const top = event.clientY + 16 + offsetHeight > innerHeight ? event.clientY - offsetHeight - 8 : event.clientY + 16;
    this.tooltip.style.left = `${left}px`;
    this.tooltip.style.top = `${top}px`;
  }
}

function config(colour) {
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map(colour);
  const font = "system-ui, sans-serif";
  return {
    background: "transparent",
    font,
    view: { stroke: null },
    axis: {
      labelColor: soft, labelFontSize: 11, gridColor: line, domainColor: line, tickColor: line, labelPadding: 4, labelOverlap: true,
    },
    axisX: { grid: false },
    axisY: { domain: false, ticks: false },
    axisYDiscrete: { grid: false, labelColor: ink },
    axisXQuantitative: { grid: true, domain: false, ticks: false },
    legend: { labelColor: soft, labelFontSize: 11, symbolType: "square", symbolSize: 60, padding: 0, offset: 4, symbolOpacity: 1 },
  };
}
