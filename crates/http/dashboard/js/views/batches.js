// Batches: when they run, what each run held, what the other side made of it, and corrections.

import { h, put, text } from "../dom.js";
import * as format from "../format.js";
import { act } from "../ask.js";
import { Facts } from "../facts.js";
import { dated, deliveryState, fact, flowState, messageLink } from "../flowpieces.js";
import { crumbs, mark } from "../pieces.js";
import { href } from "../route.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";

const REFRESH_MS = 2000;

const PLAN = [
  { head: "Runs at", text: (one) => one.at },
  { head: "Next run", sign: (one) => `${one.next}${inWords(one.next)}`, make: (one) => [dated(one.next), one.next ? h("span", { class: "dim" }, ` ${inWords(one.next)}`) : null] },
  { head: "Records", text: (one) => (one.records ?? []).join(", ") || "none" },
  { head: "Rollups", text: (one) => (one.rollups ?? []).map((rollup) => (typeof rollup === "string" ? rollup : `${rollup.aggregate ?? ""} of ${rollup.match ?? ""}`)).join(", ") || "none" },
  { head: "Format", text: (one) => one.format },
  { head: "Target", wide: true, text: (one) => one.target ?? "–" },
];

const COLUMNS = [
  { head: "Delivery", label: "", sign: (run) => run.state, make: (run) => deliveryState(run.state ?? "waiting") },
  { head: "Period", cls: "nowrap", sign: (run) => run.id, make: (run) => period(run.period) },
  { head: "Cause", cls: "nowrap", sign: (run) => run.cause + run.correction_of, make: (run) => cause(run) },
  { head: "Made", cls: "nowrap", sign: (run) => run.created, make: (run) => dated(run.created) },
  { head: "Rows", num: true, text: (run) => format.count(run.rows) },
  { head: "Control totals", cls: "words", text: (run) => totals(run.totals) },
  { head: "Reconciliation", cls: "words", sign: (run) => `${run.state}${JSON.stringify(run.reconciliation)}`, make: (run) => verdict(run.reconciliation, run.state) },
  { head: "Size", num: true, text: (run) => format.bytes(run.bytes ?? 0) },
];

export function batchesView(view, query) {
  const only = query.get("name") ?? "";
  const [body, failure] = [h("div", { class: "stacked" }), h("p", { class: "error hidden" })];
  const panels = new Map();
  put(view, only ? crumbs(["Batches", "#/batches"], [only]) : crumbs(["Batches"]), h("h1", {}, only || "Batches"), failure, body);

  async function look() {
    if (document.hidden) return;
    try {
      const batches = (await store.get("/v1/batches")).body.filter((one) => !only || one.name === only);
      failure.classList.add("hidden");
      if (!batches.length) return put(body, h("section", { class: "panel" }, h("p", { class: "empty top" }, only ? `There is no batch ${only}.` : "No batch is configured. Add a [[batch]] to the configuration: at a shift's end, by a cron expression, or on demand.")));
      if (!panels.size) put(body);
      for (const batch of batches) {
        if (!panels.has(batch.name)) {
          panels.set(batch.name, panel(batch, look));
          body.append(panels.get(batch.name).element);
        }
        panels.get(batch.name).show(batch);
      }
    } catch (error) {
      failure.classList.remove("hidden");
      text(failure, error.message);
    }
  }
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => clearInterval(timer);
}

function panel({ name }, again) {
  const plan = new Facts(PLAN);
  const state = h("span");
  const rows = new Rows({ columns: COLUMNS, label: `Runs of ${name}`, empty: "It has not run yet.", detail: runDetail, detailSign: (run) => JSON.stringify(run) });
  let batch = null;
  const question = () => ({
    title: `Run ${name} now?`, action: "Run now", comment: "Why (others see it)",
    words: [`What belongs to its last whole period goes to ${batch.target ?? "its target"} as a run of its own, with its control totals.`,
      "The planned runs stay as they are."],
  });
  const run = h("button", { type: "button", onclick: async () => (await act(question(), (given) => store.post(`/v1/batches/${encodeURIComponent(name)}/run`, given), ({ by }) => `${by} ran ${name}.`)) && again() }, "Run now");
  const element = h("section", { class: "panel" }, h("header", {}, h("h2", {}, h("a", { href: href("flow", { name }) }, name)), state, h("span", { class: "spread" }), run), plan.element, rows.element);
  return {
    element,
    show(now) {
      batch = now;
      if (state.dataset.sign !== now.state) put(state, flowState({ state: now.state ?? "running" }));
      state.dataset.sign = now.state;
      plan.show(now);
      rows.show([...(now.runs ?? [])].sort((a, b) => String(b.created).localeCompare(String(a.created))));
    },
  };
}

function period(one) {
  if (!one) return "–";
  const [from, to] = [one.from, one.to].map((iso) => (iso ? format.ms(iso) : null));
  const range = from && to ? `${format.day(from)} ${format.clockShort(from)} to ${format.clockShort(to)}` : "";
  return h("span", { title: `${one.from} to ${one.to}` }, one.label && one.label !== range ? `${one.label} ` : "", h("span", { class: "dim" }, range));
}

function cause(run) {
  if (run.cause === "schedule" || run.cause === "manual") return run.cause;
  return run.correction_of ? h("span", { title: `Corrects ${run.correction_of}` }, mark("low", "correction")) : mark("low", run.cause);
}

/** Totals by name, nested ones with their path: `[name, figure]`. */
function flat(object, path = "") {
  return Object.entries(object ?? {}).flatMap(([key, value]) => (value !== null && typeof value === "object" ? flat(value, key === "sums" ? path : `${path}${key} `)
    : [[`${path}${key}`.replaceAll("_", " "), value === null ? "–" : format.exact(value)]]));
}

/** In one line: what a person compares. Hashes stand where the run unfolds. */
const totals = (one) => flat(one).filter(([name]) => !/hash|^rows$|^lines$/.test(name)).map(([name, value]) => `${name} ${value}`).join(", ");

/** Whether both sides have the same totals. */
function verdict(report, delivery) {
  const state = report?.state;
  if (state === "matched") return mark("normal", `${report.compared} total${report.compared === 1 ? "" : "s"} agree`);
  if (state === "differs") {
    const many = report.differences.length + (report.more ?? 0);
    return mark("high", `${many} difference${many === 1 ? "" : "s"}`);
  }
  return h("span", { class: "dim" }, state === "unconfirmed" ? "answered without totals" : delivery === "delivered" ? "none" : "not yet");
}

function runDetail(run) {
  return h("div", { class: "unfolded" },
    h("div", { class: "facts" }, fact("Run", messageLink(run.id)), fact("Sequence", String(run.sequence ?? "–")), fact("Delivery", run.delivery ?? "–"), run.correction_of ? fact("Corrects", messageLink(run.correction_of)) : null,
      fact("From, to", dated(run.period?.from), " to ", dated(run.period?.to)), h("dl", { class: "wide" }, h("dt", {}, "SHA-256 of the document"), h("dd", { class: "id" }, run.sha256 ?? "–"))),
    h("h2", {}, "Control totals"), h("div", { class: "facts" }, fact("rows", format.count(run.rows)), flat(run.totals).filter(([name]) => name !== "rows").map(([name, value]) => fact(name, value))),
    h("h2", {}, "Reconciliation"), reconciled(run.reconciliation, run.state));
}

/** What the other side says it took, where it is not what was sent. */
function reconciled(report, delivery) {
  if (!report?.state) return h("p", { class: "dim" }, delivery === "delivered" ? "Nothing was compared." : "The other side has not taken it yet.");
  if (report.state === "unconfirmed") return h("p", { class: "dim" }, "The other side took it and named no totals of its own: there is nothing to compare.");
  if (report.state === "matched") return h("p", {}, verdict(report));
  return h("table", { class: "attempts stack", "aria-label": "Differences" }, h("thead", {}, h("tr", {}, h("th", {}, "Total"), h("th", { class: "num" }, "Sent"), h("th", { class: "num" }, "The other side has"))),
    h("tbody", {}, report.differences.map((one) => h("tr", {}, h("td", {}, one.what), h("td", { class: "num", "data-label": "Sent" }, one.sent || "–"), h("td", { class: "num", "data-label": "The other side has" }, one.answered || "–")))),
    report.more ? h("tfoot", {}, h("tr", {}, h("td", { colspan: "3", class: "dim" }, `and ${report.more} more`))) : null);
}

/** How long until then. */
function inWords(iso) {
  if (!iso) return "";
  const wait = format.ms(iso) - format.now();
  return wait > 0 ? `in ${format.span(wait)}` : "due";
}
