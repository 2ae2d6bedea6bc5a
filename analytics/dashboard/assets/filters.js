// The filters: a form whose state is in the page's address, so that a view can be bookmarked.

import { count, el, named } from "./words.js";

const TIMES = [["900", "Last 15 minutes"], ["3600", "Last hour"], ["86400", "Last 24 hours"],
  ["604800", "Last 7 days"], ["2592000", "Last 30 days"], ["all", "All"], ["between", "Between …"]];
const DEFAULT_TIME = "86400";
const FIELDS = [["subscription_id", "subscription"], ["product", "product"], ["user_id", "user"], ["app_id", "application"]];
const ALL = "";
const ONE = "="; // prefix of a selected value, which may be empty

export class Filters {
  /** `changed` is called after the selection changes. */
  constructor(form, changed) {
    this.form = form;
    this.field = form.elements;
    this.field.time.append(...TIMES.map(([value, title]) => el("option", { value }, title)));
    this.field.by.append(...FIELDS.map(([value, title]) => el("option", { value }, title)));
    this.#read(new URLSearchParams(location.search));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => this.#change(event.target, changed));
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.#read(new URLSearchParams());
      this.#write();
      changed();
    });
    addEventListener("popstate", () => {
      this.#read(new URLSearchParams(location.search));
      changed();
    });
  }

  /** The query string for the server. */
  query() {
    const query = new URLSearchParams({ by: this.field.by.value });
    const { time, since, before } = this.field;
    if (time.value === "between") {
      if (since.value) query.set("since", since.value);
      if (before.value) query.set("before", before.value);
    } else if (time.value !== "all") {
      query.set("last", time.value);
    }
    for (const name of ["region", "deployment", "caller"]) {
      const { value } = this.field[name];
      if (value !== ALL) query.set(name, value.slice(ONE.length));
    }
    return query;
  }

  get by() {
    return this.field.by.selectedOptions[0].text;
  }

  /** Reset the filters and select all times. */
  showAll() {
    this.#read(new URLSearchParams({ time: "all" }));
    this.#write();
  }

  /** Update the options. The selected value stays, even if there are no calls for it now. */
  offer(choices) {
    this.#options("region", "All regions", choices.filter((choice) => choice.field === "region"));
    this.#options("deployment", "All deployments", choices.filter((choice) => choice.field === "deployment"));
    this.#options("caller", "All callers", choices.filter((choice) => choice.field === this.field.by.value));
  }

  #options(name, all, choices) {
    const select = this.field[name];
    const chosen = select.value;
    const offered = choices.map(({ value, calls }) => [ONE + value, `${named(value)} · ${count(calls)}`]);
    if (chosen !== ALL && !offered.some(([value]) => value === chosen)) {
      offered.unshift([chosen, named(chosen.slice(ONE.length))]);
    }
    const wanted = [[ALL, all], ...offered];
    const shown = [...select.options].map((option) => [option.value, option.text]);
    if (JSON.stringify(wanted) === JSON.stringify(shown)) return; // do not disturb an open list
    select.replaceChildren(...wanted.map(([value, title]) => el("option", { value }, title)));
    select.value = chosen;
  }

  #change(target, changed) {
    if (target === this.field.by) this.#choose("caller", null);
    this.#showBetween();
    if (target === this.field.time && target.value === "between") {
      this.field.since.focus();
      if (!this.field.since.value && !this.field.before.value) return;
    }
    this.#write();
    changed();
  }

  #choose(name, value) {
    const select = this.field[name];
    const chosen = value === null ? ALL : ONE + value;
    if (![...select.options].some((option) => option.value === chosen)) {
      select.append(el("option", { value: chosen }, value === null ? "All" : named(value)));
    }
    select.value = chosen;
  }

  #showBetween() {
    for (const label of this.form.querySelectorAll(".between")) label.hidden = this.field.time.value !== "between";
  }

  #read(address) {
    const known = (select, value, otherwise) => {
      select.value = [...select.options].some((option) => option.value === value) ? value : otherwise;
    };
    known(this.field.time, address.get("time"), DEFAULT_TIME);
    known(this.field.by, address.get("by"), FIELDS[0][0]);
    this.field.since.value = address.get("since") ?? "";
    this.field.before.value = address.get("before") ?? "";
    for (const name of ["region", "deployment", "caller"]) this.#choose(name, address.get(name));
    this.#showBetween();
  }

  #write() {
    const address = this.query();
    address.delete("last");
    if (this.field.time.value !== DEFAULT_TIME) address.set("time", this.field.time.value);
    if (address.get("by") === FIELDS[0][0] && !address.has("caller")) address.delete("by");
    history.pushState(null, "", `${location.pathname}${address.size ? `?${address}` : ""}`);
  }
}
