// Who changed what, newest first.

import { h, put } from "../dom.js";
import { dated, flowHref } from "../flowpieces.js";
import { crumbs } from "../pieces.js";
import { note } from "../route.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";

const REFRESH_MS = 5000;
const words = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** The table, for the whole or for one flow. */
export function auditRows() {
  const known = (name) => store.state.flows?.find((flow) => flow.name === name);
  return new Rows({
    label: "Changes", key: (one) => [one.time, one.who, one.what, one.flow ?? one.target].join(" "), empty: "Nobody changed anything yet.",
    columns: [
      { head: "When", cls: "nowrap", sign: (one) => one.time, make: (one) => dated(one.time) },
      { head: "Who", cls: "nowrap", text: (one) => one.who ?? "–" },
      { head: "What", cls: "words", text: (one) => one.what },
      { head: "Where", cls: "clip", sign: (one) => one.flow ?? one.target, make: (one) => where(one.flow ?? one.target ?? "", known(one.flow ?? one.target)) },
      { head: "Before", cls: "words dim", text: (one) => words(one.before) },
      { head: "After", cls: "words", text: (one) => words(one.after) },
      { head: "Outcome", cls: "words", text: (one) => words(one.outcome) },
    ],
  });
}

const where = (name, flow) => (flow ? h("a", { href: flowHref(flow) }, name) : name);

export function auditView(view, query) {
  const rows = auditRows();
  const failure = h("p", { class: "error hidden" });
  const search = h("input", { type: "search", placeholder: "Name, flow or word", "aria-label": "Search changes", oninput: () => {
    note("audit", { search: search.value.trim() });
    draw();
  } });
  search.value = query.get("search") ?? "";
  let all = [];

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    rows.show(all.filter((one) => JSON.stringify(one).toLowerCase().includes(wanted)), all.length ? "No change fits the filter." : "Nobody changed anything yet.");
  }

  async function look() {
    if (document.hidden) return;
    try {
      all = (await store.get("/v1/audit")).body;
      failure.classList.add("hidden");
      draw();
    } catch (error) {
      failure.classList.remove("hidden");
      put(failure, error.message);
    }
  }
  put(view, crumbs(["Who changed what"]), h("div", { class: "head" }, h("h1", {}, "Who changed what"), search), failure, h("section", { class: "panel" }, rows.element));
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => clearInterval(timer);
}
