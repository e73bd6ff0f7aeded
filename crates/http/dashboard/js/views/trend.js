// One tag in full, and up to eight tags over one time.

import { h, put } from "../dom.js";
import * as format from "../format.js";
import { TrendPanel } from "../panel.js";
import { age, crumbs, drawRange, mark, outside, quality, severity, time } from "../pieces.js";
import { href, note } from "../route.js";
import * as store from "../store.js";

const SAMPLES_SHOWN = 12;

/** Several tags. */
export function trendView(view, query) {
  const tags = query.getAll("tag");
  const body = h("div");
  put(view, crumbs(["Tags", "#/tags"], ["Trend"]), h("div", { class: "head" }, h("h1", {}, "Trend")), body);
  const panel = new TrendPanel(body, tags, query, (state) => note("trend", { tag: state.tags, ...state.time }), true);
  return () => panel.close();
}

/** One tag: what it is now, its trend, its last samples. */
export function tagView(view, query) {
  const path = query.get("path") ?? "";
  const at = path.lastIndexOf("/") + 1;
  const now = h("section", { class: "panel now", "aria-live": "off" });
  const chart = h("div");
  const recent = h("section", { class: "panel" });
  put(view, crumbs(["Tags", "#/tags"], [path.slice(0, at) || "Tag", href("tags", { search: path.slice(0, at) })], [path.slice(at)]),
    h("h1", {}, path), now, chart, recent);
  const draw = nowPanel(now, path);
  const stop = store.listen((what) => what === "latest" && draw());
  const timers = [setInterval(draw, 1000), setInterval(() => !document.hidden && lastSamples(recent, path), 2000)];
  lastSamples(recent, path);
  const panel = new TrendPanel(chart, [path], query, (state) => note("tag", { path, ...state.time }), false);
  return () => {
    stop();
    timers.forEach(clearInterval);
    panel.close();
  };
}

function nowPanel(panel, path) {
  const value = h("div", { class: "big" });
  const range = h("canvas", { class: "range wide" });
  const rangeWords = h("dd");
  const [state, seen, source] = [h("dd"), h("dd"), h("dd")];
  const pair = (name, dd) => h("dl", {}, h("dt", {}, name), dd);
  put(panel, value, pair("Normal range", h("dd", {}, range, rangeWords)), pair("Quality", state), pair("Confirmed", seen), pair("Source", source));
  return () => {
    const row = store.latest.get(path);
    panel.classList.toggle("hidden", !row);
    if (!row) return;
    const { millis, stale } = age(row);
    panel.classList.toggle("stale", stale || severity(row.quality) === "bad");
    put(value, format.value(row), " ", h("span", { class: "unit" }, row.unit));
    drawRange(range, row);
    range.classList.toggle("hidden", !row.range);
    const where = outside(row);
    put(rangeWords, row.range ? `${row.range[0]} to ${row.range[1]} ${row.unit} ` : "not configured", where ? mark("high", `too ${where}`) : null);
    put(state, severity(row.quality) === "good" ? "Good" : quality(row.quality));
    put(seen, stale ? mark("medium", `stale, ${format.span(millis)} ago`) : `${format.span(millis)} ago`);
    put(source, row.source ? h("a", { href: href("sources", { name: row.source }) }, row.source) : "–");
  };
}

async function lastSamples(panel, path) {
  try {
    const now = format.now();
    const query = { tag: path, from: new Date(now - 60_000).toISOString(), limit: 2_000 };
    const { body } = await store.get("/v1/samples", query);
    const row = store.latest.get(path) ?? { tag: path, unit: "" };
    const rows = body.samples.slice(-SAMPLES_SHOWN).reverse().map((sample) => h("tr", {},
      h("td", {}, time(sample.time)), h("td", {}, sample.source_time ? time(sample.source_time) : h("span", { class: "dim" }, "–")),
      h("td", { class: "num" }, format.value({ ...row, value: sample.value }), " ", h("span", { class: "unit" }, row.unit)), h("td", {}, quality(sample.quality))));
    put(panel, h("header", {}, h("h2", {}, "Newest samples"), h("span", { class: "dim" }, "of the last minute")),
      rows.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Server time"), h("th", {}, "Source time"), h("th", { class: "num" }, "Value"), h("th", {}, "Quality"))), h("tbody", {}, rows)))
        : h("p", { class: "empty" }, "No sample was stored in the last minute."));
  } catch (error) {
    put(panel, h("p", { class: "error" }, error.message));
  }
}
