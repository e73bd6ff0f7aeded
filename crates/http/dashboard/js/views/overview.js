// Level 1: is anything wrong, and where?

import { priorityShape, waiting } from "../alarmpieces.js";
import { h, put } from "../dom.js";
import { demoPanel } from "../demo.js";
import { steady } from "../facts.js";
import { FLOW_COLUMNS, flowHref, flowLevel, LANES, worstFirst } from "../flowpieces.js";
import * as format from "../format.js";
import { age, mark, quality, shape, sourceLevel, tagLink } from "../pieces.js";
import { href } from "../route.js";
import { Rows } from "../rows.js";
import { sparkRate } from "../spark.js";
import * as store from "../store.js";

const WORST_MAX = 8;
const LETTERS_MAX = 100;
const BAD_FIRST = { down: 0, degraded: 1, starting: 2, running: 3 };

const SOURCE_COLUMNS = [
  { head: "State", cls: "c-state", label: "", sign: (one) => one.state, make: (one) => mark(sourceLevel(one.state), one.state) },
  { head: "Source", cls: "c-name", label: "", sign: (one) => one.name, make: (one) => [h("a", { href: href("sources", { name: one.name }) }, one.name), h("span", { class: "dim" }, ` ${one.kind}`)] },
  { head: "Samples/s", num: true, cls: "c-figure", text: (one) => (one.rate === undefined ? "–" : format.count(Math.round(one.rate * 10) / 10)) },
  { head: "Tags", num: true, cls: "c-figure", text: (one) => format.count(one.tags) },
  { head: "Last data", num: true, cls: "c-backlog", text: (one) => (one.last_data ? `${format.span(format.now() - format.ms(one.last_data))} ago` : "none yet") },
  { head: "What is wrong", label: "", cls: "words", text: (one) => one.reason },
  { head: "Last 3 min", cls: "col-spark", label: "", draw: (canvas, one) => sparkRate(canvas, store.rates.get(one.name) ?? []) },
];
const LANE_COLUMNS = ["state", "name", "rate", "p99", "backlog", "trouble", "spark"].map((name) => FLOW_COLUMNS[name]);

export function overviewView(view) {
  const [verdict, sum, wrong, rest] = [h("p", { class: "verdict" }), h("section", { class: "panel sum", "aria-label": "Summary" }), h("div"), h("p", { class: "dim hidden" })];
  const demo = demoPanel();
  const lanes = LANES.map((lane) => lanePanel(lane));
  put(view, h("div", { class: "head" }, h("h1", {}, "Overview"), verdict), sum, demo.element, lanes.map((lane) => lane.element), wrong, rest);
  let worst = { rows: [], total: 0 };
  let [letters, looks] = [[], 0];

  async function look() {
    if (document.hidden) return;
    try {
      const { body, headers } = await store.get("/v1/latest", { quality: "abnormal", sort: "quality", limit: WORST_MAX });
      worst = { rows: body, total: Number(headers.get("millstream-total")) };
      put(wrong, wrongPanel(worst));
      // Only how many are open matters here; where nothing was ever given up, nothing is asked.
      const given = (store.state.flows ?? []).some((flow) => flow.dead || flow.expired);
      if (given && looks % 3 === 0) letters = (await store.get("/v1/dead-letters", { state: "open", limit: LETTERS_MAX })).body;
      if (given) looks += 1;
    } catch (error) {
      put(wrong, h("p", { class: "error" }, error.message));
    }
    drawSum();
  }

  function drawSum() {
    const all = troubles();
    steady(verdict, JSON.stringify([Boolean(store.state.sources && store.state.flows), all]), () => verdictOf(all));
    const made = summary(worst, letters);
    steady(sum, JSON.stringify(made), () => made.map((one) => tile(one)));
  }

  function draw(what) {
    if (what === "latest" || what === "link") return;
    if (what === "status") {
      demo.update();
      const { inactive } = store.state.status;
      rest.classList.toggle("hidden", !inactive?.length);
      rest.textContent = `Configured, not active yet: ${(inactive ?? []).join(", ")}.`;
    }
    for (const lane of lanes) lane.draw(what);
    drawSum();
  }

  const stop = store.listen(draw);
  for (const what of ["sources", "status", "flows"]) if (store.state[what]) draw(what);
  drawSum();
  look();
  const timer = setInterval(look, 2000);
  return () => {
    stop();
    clearInterval(timer);
  };
}

/** One lane: a row a flow, the same columns at the same places in each. */
function lanePanel(lane) {
  const telemetry = lane.pattern === "telemetry";
  const note = h("span", { class: "dim" });
  const all = telemetry ? "#/sources" : lane.pattern === "batch" ? "#/batches" : href("flows", { pattern: lane.pattern });
  const rows = new Rows({
    heading: [h("h2", {}, h("a", { href: all }, lane.name)), " ", note], fixed: true,
    columns: telemetry ? SOURCE_COLUMNS : LANE_COLUMNS, key: (one) => one.name, label: lane.name, cls: "lane",
    open: (one) => (location.hash = telemetry ? href("sources", { name: one.name }) : flowHref(one)),
    empty: `Nothing is configured here. Add a [[${lane.section}]] to the configuration.`,
  });
  const element = h("section", { class: "panel" }, rows.element);
  rows.show([], "Waiting for the server.");

  function draw(what) {
    if (what !== (telemetry ? "sources" : "flows")) return;
    const all = telemetry ? store.state.sources : store.state.flows.filter((flow) => flow.pattern === lane.pattern);
    const abnormal = all.filter((one) => one.state !== "running").length;
    note.textContent = all.length ? `${all.length} ${telemetry ? "source" : "flow"}${all.length === 1 ? "" : "s"}${abnormal ? `, ${abnormal} not running` : ""}` : "";
    rows.show([...all].sort(telemetry ? (a, b) => (BAD_FIRST[a.state] ?? 1) - (BAD_FIRST[b.state] ?? 1) : worstFirst));
  }
  return { element, draw };
}

const flowsNotRunning = () => (store.state.flows ?? []).filter((flow) => flow.pattern !== "telemetry" && flow.state !== "running");
const sourcesNotRunning = () => (store.state.sources ?? []).filter((one) => one.state !== "running");

/** What is wrong, worst first: `[level, words, address]`. */
function troubles() {
  const { status, cores } = store.state;
  const found = [];
  if (status && status.status !== "ready") found.push(["critical", `not ready: ${status.reasons.join("; ")}`, "#/overview"]);
  for (const core of cores ?? []) if (core.log.health !== "healthy") found.push(["critical", `log of shard ${core.shard} ${core.log.health}`, "#/cores"]);
  for (const one of sourcesNotRunning()) found.push([sourceLevel(one.state), `${one.name} ${one.state}`, href("sources", { name: one.name })]);
  for (const one of flowsNotRunning().sort(worstFirst)) found.push([flowLevel(one.state), `${one.name} ${one.state}`, flowHref(one)]);
  const order = ["critical", "high", "medium", "low"];
  return found.sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
}
const NAMED = 6;

function verdictOf(all) {
  const { sources, flows } = store.state;
  if (!sources || !flows) return h("span", { class: "dim" }, "Waiting for the server.");
  if (!sources.length && !flows.length) return h("span", { class: "dim" }, "Nothing is configured yet.");
  if (!all.length) return h("span", { class: "dim" }, "All sources and flows are running.");
  const more = all.length - NAMED;
  return [all.slice(0, NAMED).map(([level, words, address]) => h("a", { href: address }, mark(level, words))), more > 0 ? h("a", { href: href("flows", { state: "abnormal" }) }, `and ${more} more`) : null];
}

function summary(worst, letters) {
  const { sources, cores, flows, alarms } = store.state;
  const [down, idle, alarm] = [sourcesNotRunning(), flowsNotRunning(), waiting(alarms)];
  const [dead, deadIn] = [letters.length, [...new Set(letters.map((one) => one.flow))]];
  const count = (state) => idle.filter((one) => one.state === state).length;
  const kinds = ["stopped", "degraded", "paused"].filter(count).map((state) => `${count(state)} ${state}`).join(", ");
  const seen = alarms?.states?.acknowledged ?? 0;
  const rate = (cores ?? []).reduce((all, core) => all + core.samples_per_second, 0);
  const stages = (cores ?? []).flatMap((core) => core.stages).filter((stage) => stage.lane === "telemetry");
  const slowest = stages.length ? Math.max(...stages.map((stage) => stage.p99_ns)) : null;
  const sick = (cores ?? []).filter((core) => core.log.health !== "healthy");
  const stored = (cores ?? []).reduce((all, core) => all + core.log.bytes, 0);
  const carried = (flows ?? []).filter((flow) => flow.pattern !== "telemetry");
  return [
    { label: "Alarms", big: alarms ? format.count(alarm.count) : "–", below: `unacknowledged${seen ? `, ${format.count(seen)} more active` : ""}`, level: alarm.count ? alarm.priority : "normal", alarm: true, address: "#/alarms" },
    { label: "Dead letters", big: flows ? `${dead}${dead >= LETTERS_MAX ? "+" : ""}` : "–", below: dead ? `open, in ${deadIn.length === 1 ? deadIn[0] : `${deadIn.length} flows`}` : "none is open", level: dead ? "high" : "normal", address: "#/dead" },
    { label: "Flows", big: flows ? (idle.length ? `${idle.length} of ${carried.length}` : `${carried.length}`) : "–", below: idle.length ? kinds : carried.length ? "all running" : "none is configured",
      level: count("stopped") ? "critical" : count("degraded") ? "medium" : idle.length ? "low" : "normal", address: idle.length ? href("flows", { state: "abnormal" }) : "#/flows" },
    { label: "Sources", big: sources ? (down.length ? `${down.length} of ${sources.length}` : `${sources.length}`) : "–", below: down.length ? "not running" : sources?.length ? "all running" : "none is configured",
      level: down.some((one) => one.state === "down") ? "critical" : down.length ? "medium" : "normal", address: "#/sources" },
    { label: "Tags", big: format.count(worst.total), below: "bad or uncertain", level: worst.total ? "high" : "normal", address: href("tags", { quality: "abnormal" }) },
    { label: "Samples in a second", big: format.count(Math.round(rate)), below: `on ${cores?.length ?? 0} cores`, level: "normal", address: "#/cores" },
    { label: "Telemetry stage p99", big: slowest === null ? "–" : format.nanos(slowest), below: "longest of all cores", level: "normal", address: "#/cores" },
    { label: "Log", big: sick.length ? sick[0].log.health : cores ? "healthy" : "–", below: sick.length ? short(sick[0].log.reason) : `${format.bytes(stored)} on disk`, level: sick.length ? "critical" : "normal", address: "#/cores" },
  ];
}

const short = (words) => (words.length > 48 ? `${words.slice(0, 48)}…` : words);

function tile({ label, big, below, level, alarm, address }) {
  const sign = level === "normal" ? null : alarm ? priorityShape(level, { blink: true }) : shape(level);
  return h("a", { href: address }, h("div", { class: "dim" }, label), h("div", { class: `big ${level === "normal" ? "" : `is-${level}`}` }, sign, big), h("div", { class: "dim" }, below));
}

function wrongPanel(worst) {
  if (!worst.total) return null;
  const more = worst.total - worst.rows.length;
  return h("section", { class: "panel" },
    h("header", {}, h("h2", {}, "Tags with bad or uncertain quality"), h("span", { class: "dim" }, format.count(worst.total)),
      h("span", { class: "spread" }), more > 0 ? h("a", { href: href("tags", { quality: "abnormal", sort: "quality" }) }, `and ${format.count(more)} more`) : null),
    h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, worst.rows.map((row) => h("tr", {},
      h("td", {}, quality(row.quality)), h("td", {}, tagLink(row.tag)),
      h("td", { class: "num stale" }, format.value(row), " ", h("span", { class: "unit" }, row.unit)),
      h("td", { class: "num" }, `${format.span(age(row).millis)} old`)))))));
}
