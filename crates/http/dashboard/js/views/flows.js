// All flows, filtered by pattern, state and words; what the filter is stands in the address.

import { h, put, text } from "../dom.js";
import { FLOW_COLUMNS, flowHref, LANES, laneName, worstFirst } from "../flowpieces.js";
import { choice, crumbs } from "../pieces.js";
import { note } from "../route.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";

const COLUMNS = [
  FLOW_COLUMNS.state, FLOW_COLUMNS.name,
  { head: "Pattern", cls: "nowrap dim", text: (flow) => laneName(flow.pattern) },
  FLOW_COLUMNS.rate, FLOW_COLUMNS.p99, FLOW_COLUMNS.backlog, FLOW_COLUMNS.dead, FLOW_COLUMNS.trouble, FLOW_COLUMNS.spark,
];
const STATES = ["running", "degraded", "paused", "stopped"];

export function flowsView(view, query) {
  const filter = { pattern: query.get("pattern") ?? "", state: query.get("state") ?? "", search: query.get("search") ?? "" };
  const rows = new Rows({ columns: COLUMNS, key: (flow) => `${flow.pattern} ${flow.name}`, open: (flow) => (location.hash = flowHref(flow)), label: "Flows" });
  const count = h("span", { class: "dim", "aria-live": "polite" });
  const search = h("input", { type: "search", placeholder: "Name or target", "aria-label": "Search flows", oninput: () => changed({ search: search.value.trim() }) });
  search.value = filter.search;

  function changed(more) {
    Object.assign(filter, more);
    note("flows", filter);
    draw();
  }

  function draw() {
    const { flows } = store.state;
    if (!flows) return rows.show([], "Waiting for the server.");
    const words = filter.search.toLowerCase();
    const abnormal = filter.state === "abnormal";
    const found = flows.filter((flow) => (!filter.pattern || flow.pattern === filter.pattern)
      && (!filter.state || (abnormal ? flow.state !== "running" : flow.state === filter.state))
      && (!words || `${flow.name} ${flow.target ?? ""}`.toLowerCase().includes(words)));
    text(count, found.length === flows.length ? `${flows.length}` : `${found.length} of ${flows.length}`);
    rows.show(found.sort(worstFirst), flows.length ? "No flow fits the filter." : "No flow is configured. Add a [[subscriber]], [[request]], [[sync]] or [[batch]] to the configuration.");
  }

  put(view, crumbs(["Flows"]), h("div", { class: "head" }, h("h1", {}, "Flows"), search,
    choice("Pattern", filter.pattern, [["", "Any pattern"], ...LANES.map((lane) => [lane.pattern, lane.name])], (pattern) => changed({ pattern })),
    choice("State", filter.state, [["", "Any state"], ["abnormal", "Not running"], ...STATES.map((one) => [one, one])], (state) => changed({ state })), count,
    h("span", { class: "spread" }), h("a", { href: "#/audit" }, "Who changed what")),
    h("section", { class: "panel" }, rows.element));
  draw();
  return store.listen((what) => what === "flows" && draw());
}
