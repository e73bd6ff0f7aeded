// One tag in full, and up to eight tags over one time.

import { h, put, text } from "../dom.js";
import * as format from "../format.js";
import { age, crumbs, drawRange, mark, outside, quality, severity, tagLink, time } from "../pieces.js";
import { href, note } from "../route.js";
import * as store from "../store.js";
import { gapWords, penMark, PENS_MAX, readout, Trend } from "../trend.js";

const SPANS = [["1 min", 1], ["5 min", 5], ["15 min", 15], ["1 h", 60], ["8 h", 480], ["24 h", 1440], ["7 d", 10080]];
const SAMPLES_SHOWN = 12;

/** Several tags. */
export function trendView(view, query) {
  const tags = query.getAll("tag");
  const body = h("div");
  put(view, crumbs(["Tags", "#/tags"], ["Trend"]), h("div", { class: "head" }, h("h1", {}, "Trend")), body);
  return trendOf(body, tags, query, (state) => note("trend", { tag: state.tags, ...state.time }), true);
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
  const close = trendOf(chart, [path], query, (state) => note("tag", { path, ...state.time }), false);
  return () => {
    stop();
    timers.forEach(clearInterval);
    close();
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
    if (!row) return put(value, "–");
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

/** Tools, chart and legend over tags; `noted` hears what belongs in the address. */
function trendOf(root, tags, query, noted, several) {
  const failure = h("p", { class: "error hidden" });
  const legend = h("tbody");
  const gaps = h("div", { class: "empty hidden" });
  const trend = new Trend(() => drawLegend(), several ? 420 : 300);
  const follow = h("button", { type: "button", title: "f", onclick: () => toggle() });
  const back = h("button", { type: "button", onclick: () => trend.zoomBack() }, "Zoom back");
  const spans = SPANS.map(([name, minutes]) => h("button", { type: "button", onclick: () => setSpan(minutes) }, name));
  const save = h("button", { type: "button", title: "What is in sight, as CSV", onclick: () => format.download("millstream-trend.csv", trend.csv()) }, "Save CSV");
  const tools = h("div", { class: "tools" }, h("div", { class: "group", role: "group", "aria-label": "Time" }, spans), follow, back, h("span", { class: "spread" }), several ? adder((tag) => add(tag)) : null, save);
  const empty = h("p", { class: "empty" }, "No tag is chosen. Search for one above, or choose some in ", h("a", { href: "#/tags" }, "Tags"), ".");
  const panel = h("section", { class: "panel" }, h("header", {}, tools), h("div", { class: "body" }, failure, empty, trend.element, gaps),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Pen"), h("th", {}, "Tag"), h("th", { class: "num" }, "At cursor"), h("th", { class: "num" }, "Now"), h("th", {}, "Unit"), h("th", { class: "num" }, "Lowest"), h("th", { class: "num" }, "Highest"), h("th", {}, "Quality"), several ? h("th", {}, "") : null)), legend)));
  tools.parentElement.style.display = "block";
  put(root, panel);

  function address() {
    const fixed = trend.fixed && { from: new Date(trend.fixed.from).toISOString(), to: new Date(trend.fixed.to).toISOString() };
    noted({ tags, time: fixed ?? { span: trend.span / 60_000 === 15 ? "" : trend.span / 60_000 } });
  }

  function setSpan(minutes) {
    trend.setSpan(minutes * 60_000);
    drawTools();
  }

  function toggle() {
    trend.freeze(trend.live());
    drawTools();
  }

  function add(tag) {
    if (!tag || tags.includes(tag) || tags.length >= PENS_MAX) return;
    tags.push(tag);
    begin();
  }

  function remove(tag) {
    tags.splice(tags.indexOf(tag), 1);
    begin();
  }

  function drawTools() {
    spans.forEach((button, at) => button.setAttribute("aria-pressed", String(!trend.fixed && SPANS[at][1] * 60_000 === trend.span)));
    text(follow, trend.live() ? "Freeze" : "Follow again");
    follow.setAttribute("aria-pressed", String(!trend.live()));
    back.disabled = !trend.fixed;
    address();
  }

  function drawLegend() {
    failure.classList.toggle("hidden", !trend.error);
    text(failure, trend.error?.message ?? "");
    drawGaps(gaps, trend);
    for (const update of updates) update();
    if (wasFixed !== trend.fixed) {
      wasFixed = trend.fixed;
      drawTools();
    }
  }

  let wasFixed = null;
  let updates = [];
  async function begin() {
    empty.classList.toggle("hidden", tags.length > 0);
    trend.element.classList.toggle("hidden", tags.length === 0);
    const made = tags.map((tag, index) => legendRow(trend, tag, index, several ? () => remove(tag) : null));
    updates = made.map((one) => one.update);
    put(legend, made.map((one) => one.element));
    store.watch(tags);
    drawTools();
    await learn(tags).catch((error) => (trend.error = error));
    trend.setTags(tags);
  }

  const from = Date.parse(query.get("from") ?? "");
  const to = Date.parse(query.get("to") ?? "");
  if (to > from) trend.fixed = { from, to };
  const minutes = Number(query.get("span"));
  if (minutes > 0 && minutes <= 100_000) trend.span = minutes * 60_000;
  begin();
  const stop = store.listen((what, rows) => {
    if (what !== "latest") return;
    rows.forEach((row) => trend.add(row));
    for (const update of updates) update();
  });
  const key = (event) => event.detail.key === "f" && toggle();
  document.addEventListener("view-key", key);
  return () => {
    stop();
    document.removeEventListener("view-key", key);
    trend.close();
  };
}

/** Learns kind, unit and range of tags. A glob's special characters cannot stand in a path. */
async function learn(tags) {
  const unknown = tags.filter((tag) => !store.latest.get(tag)?.kind);
  if (!unknown.length) return;
  const { body } = await store.get("/v1/latest", { match: unknown });
  body.forEach(store.merge);
}

function legendRow(trend, tag, index, remove) {
  const cells = Object.fromEntries(["cursor", "now", "low", "high"].map((name) => [name, h("td", { class: "num" })]));
  const unit = h("td", { class: "unit" });
  const state = h("td");
  const element = h("tr", {}, h("td", {}, h("span", { class: "state" }, String(index + 1), penMark(index))), h("td", {}, tagLink(tag)),
    cells.cursor, cells.now, unit, cells.low, cells.high, state,
    remove ? h("td", {}, h("button", { type: "button", class: "quiet", "aria-label": `Remove ${tag}`, onclick: remove }, "✕")) : null);
  let told = "";
  function update() {
    const row = store.latest.get(tag) ?? { tag, unit: "", value: null, quality: "Good" };
    const one = trend.series.find((series) => series.tag === tag);
    text(cells.cursor, trend.cursor === null || !one ? "–" : readout(row, trend.at(one, trend.cursor)));
    text(cells.now, format.value(row));
    text(unit, row.unit);
    const [low, high] = extremes(one, trend.range());
    const none = row.kind === "bool" || row.kind === "text";
    text(cells.low, low === null || none ? "–" : format.value({ ...row, value: low }));
    text(cells.high, high === null || none ? "–" : format.value({ ...row, value: high }));
    if (told !== row.quality) put(state, severity(row.quality) === "good" ? h("span", { class: "dim" }, "Good") : quality(row.quality));
    told = row.quality;
  }
  return { element, update };
}

function extremes(one, range) {
  let [low, high] = [null, null];
  for (const p of one?.points ?? []) {
    if (p.v === null || p.t < range.from || p.t > range.to) continue;
    low = low === null ? p.min ?? p.v : Math.min(low, p.min ?? p.v);
    high = high === null ? p.max ?? p.v : Math.max(high, p.max ?? p.v);
  }
  return [low, high];
}

/** The gaps in sight, in words: the hatching is not for everybody to hover over. */
function drawGaps(box, trend) {
  const range = trend.range();
  const all = new Map();
  for (const one of trend.series) for (const gap of one.gaps) if (gap.to > range.from && gap.from < range.to) all.set(gapWords(gap), gap);
  const lines = [...all.keys()].slice(0, 6);
  box.classList.toggle("hidden", lines.length === 0);
  const wanted = lines.join("\n");
  if (box.dataset.told !== wanted) put(box, lines.map((line) => h("div", {}, line)), all.size > lines.length ? h("div", {}, `and ${all.size - lines.length} more gaps`) : null);
  box.dataset.told = wanted;
}

/** A search field that offers tags. */
function adder(add) {
  const list = h("datalist", { id: "offers" });
  const input = h("input", { type: "search", list: "offers", placeholder: "Add a tag", "aria-label": "Add a tag to the trend" });
  let waiting = 0;
  let offered = [];
  async function offer() {
    const { body } = await store.get("/v1/tags", { search: input.value.trim(), limit: 20 }).catch(() => ({ body: [] }));
    offered = body.map((one) => one.tag);
    put(list, offered.map((tag) => h("option", { value: tag })));
  }
  input.addEventListener("input", () => {
    if (offered.includes(input.value)) return take(input.value);
    clearTimeout(waiting);
    waiting = setTimeout(offer, 150);
  });
  input.addEventListener("keydown", (event) => event.key === "Enter" && take(offered.find((tag) => tag === input.value) ?? offered[0]));
  function take(tag) {
    input.value = "";
    add(tag);
  }
  return h("span", { class: "suggest" }, input, list);
}
