// Level 1: is anything wrong, and where?

import { h, put } from "../dom.js";
import * as format from "../format.js";
import { age, mark, quality, shape, sourceLevel, tagLink } from "../pieces.js";
import { href } from "../route.js";
import { sparkRate } from "../spark.js";
import * as store from "../store.js";

// The other four lanes, and which configured sections belong to each.
const LANES = [
  { name: "Request and reply", sections: ["request"] },
  { name: "Events", sections: ["subscriber", "rule", "event", "forward"] },
  { name: "Batch", sections: ["batch", "shift"] },
  { name: "Synchronisation", sections: ["sync", "record"] },
];
const WORST_MAX = 8;

export function overviewView(view) {
  const sum = h("section", { class: "panel sum", "aria-label": "Summary" });
  const rows = h("tbody");
  const wrong = h("div");
  const lanes = h("div", { class: "lanes" });
  put(view, h("h1", {}, "Overview"), sum, telemetry(rows), wrong, lanes);
  let worst = { rows: [], total: 0 };
  let failed = null;

  async function look() {
    if (document.hidden) return;
    try {
      const { body, headers } = await store.get("/v1/latest", { quality: "abnormal", sort: "quality", limit: WORST_MAX });
      worst = { rows: body, total: Number(headers.get("millstream-total")) };
      failed = null;
    } catch (error) {
      failed = error;
    }
    put(wrong, wrongPanel(worst, failed));
    drawSum();
  }

  function drawSum() {
    put(sum, summary(worst));
  }

  function draw(what) {
    if (what === "sources") drawSources(rows);
    if (what === "status") put(lanes, lanePanels(store.state.status.inactive));
    if (what !== "latest") drawSum();
  }

  const stop = store.listen(draw);
  if (store.state.sources) drawSources(rows);
  if (store.state.status) draw("status");
  drawSum();
  look();
  const timer = setInterval(look, 2000);
  return () => {
    stop();
    clearInterval(timer);
  };
}

/** The lane's frame; its rows are drawn as they come. */
function telemetry(rows) {
  return h("section", { class: "panel" },
    h("header", {}, h("h2", {}, "Telemetry"), h("span", { class: "dim" }, "one row a source")),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["State", "Source"].map((name) => h("th", {}, name)),
        ["Samples/s", "Tags", "Last data"].map((name) => h("th", { class: "num" }, name)),
        h("th", {}, "What is wrong"), h("th", { class: "col-spark" }, "Last 3 min"))), rows)));
}

function summary(worst) {
  const { sources, cores, status } = store.state;
  const down = (sources ?? []).filter((one) => one.state !== "running");
  const level = down.some((one) => one.state === "down") ? "critical" : down.length ? "medium" : "normal";
  const rate = (cores ?? []).reduce((all, core) => all + core.samples_per_second, 0);
  const slowest = telemetryP99(cores);
  const sick = (cores ?? []).filter((core) => core.log.health !== "healthy");
  const waiting = (cores ?? []).reduce((all, core) => all + Math.max(0, core.log.end - core.log.durable), 0);
  const ready = status?.status === "ready";
  return [
    tile("Sources", sources ? (down.length ? `${down.length} of ${sources.length}` : `${sources.length}`) : "–",
      sources ? (down.length ? `not running: ${names(down.map((one) => one.name))}` : "all running") : "waiting", level, "#/sources"),
    tile("Tags with bad or uncertain quality", format.count(worst.total), worst.total ? "listed below" : "none",
      worst.total ? "high" : "normal", href("tags", { quality: "abnormal" })),
    tile("Samples taken in a second", format.count(Math.round(rate)), `on ${cores?.length ?? 0} cores`, "normal", "#/cores"),
    tile("Telemetry stage p99", slowest === null ? "–" : format.nanos(slowest), "longest of all cores", "normal", "#/cores"),
    tile("Log", sick.length ? sick[0].log.health : cores ? "healthy" : "–",
      sick.length ? sick[0].log.reason : `${format.bytes(waiting)} on the way to disk`, sick.length ? "critical" : "normal", "#/cores"),
    status && !ready ? tile("Ready", "no", status.reasons.join("; "), "critical", "#/overview") : null,
  ];
}

function telemetryP99(cores) {
  const all = (cores ?? []).flatMap((core) => core.stages).filter((stage) => stage.lane === "telemetry");
  return all.length ? Math.max(...all.map((stage) => stage.p99_ns)) : null;
}

const names = (list) => (list.length > 3 ? `${list.slice(0, 3).join(", ")} and ${list.length - 3} more` : list.join(", "));

function tile(label, big, below, level, address) {
  return h("a", { href: address }, h("div", { class: "dim" }, label),
    h("div", { class: `big ${level === "normal" ? "" : `is-${level}`}` }, level === "normal" ? null : shape(level), big),
    h("div", { class: "dim" }, below));
}

const BAD_FIRST = { down: 0, degraded: 1, starting: 2, running: 3 };

function drawSources(rows) {
  const sources = [...store.state.sources].sort((a, b) => (BAD_FIRST[a.state] ?? 1) - (BAD_FIRST[b.state] ?? 1));
  const open = (source) => () => (location.hash = href("sources", { name: source.name }));
  const made = sources.map((source) => {
    const spark = h("canvas", { class: "spark", "aria-hidden": "true" });
    const last = source.last_data ? format.span(format.now() - format.ms(source.last_data)) : "none yet";
    requestAnimationFrame(() => sparkRate(spark, store.rates.get(source.name) ?? []));
    return h("tr", { class: "open", onclick: open(source) },
      h("td", {}, mark(sourceLevel(source.state), source.state)),
      h("td", { class: "nowrap" }, h("a", { href: href("sources", { name: source.name }) }, source.name), " ", h("span", { class: "dim" }, source.kind)),
      h("td", { class: "num" }, source.rate === undefined ? "–" : format.count(Math.round(source.rate * 10) / 10)),
      h("td", { class: "num" }, format.count(source.tags)),
      h("td", { class: "num" }, last),
      h("td", { class: "words" }, source.reason),
      h("td", {}, spark));
  });
  put(rows, made.length ? made : h("tr", {}, h("td", { colspan: 7, class: "dim" }, "No source is configured. Add a [[source]] to the configuration.")));
}

function wrongPanel(worst, failed) {
  if (failed) return h("p", { class: "error" }, failed.message);
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

function lanePanels(inactive) {
  const known = new Set(LANES.flatMap((lane) => lane.sections));
  const word = (text) => text.split(/\s/)[0].replace(/[^a-z]/g, "");
  const others = inactive.filter((text) => !known.has(word(text)));
  const panels = LANES.map((lane) => panel(lane.name, inactive.filter((text) => lane.sections.includes(word(text)))));
  return others.length ? [...panels, panel("Other sections", others)] : panels;
}

function panel(name, configured) {
  return h("section", { class: "panel" },
    h("header", {}, h("h2", {}, name), h("span", { class: "spread" }),
      h("span", { class: "dim" }, configured.length ? "configured, not active yet" : "not configured")),
    configured.length
      ? h("ul", { class: "lane-names" }, configured.map((text) => h("li", {}, text)))
      : h("p", { class: "empty" }, "Nothing is carried here."));
}
