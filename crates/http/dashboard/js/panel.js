// A trend with its tools and legend: time, freeze, zoom, CSV, pens.

import { h, put, text } from "./dom.js";
import * as format from "./format.js";
import { quality, severity, tagLink } from "./pieces.js";
import * as store from "./store.js";
import { gapWords, penMark, PENS_MAX, readout, Trend } from "./trend.js";

const SPANS = [["1 min", 1], ["5 min", 5], ["15 min", 15], ["1 h", 60], ["8 h", 480], ["24 h", 1440], ["7 d", 10080]];
const SPAN_DEFAULT = 15;
const GAPS_SHOWN = 6;

export class TrendPanel {
  /** `noted` hears what belongs in the address; `several` lets tags be added and removed. */
  constructor(root, tags, query, noted, several) {
    Object.assign(this, { tags, noted, several, updates: [], wasFixed: null });
    this.trend = new Trend(() => this.drawLegend(), several ? 420 : 300);
    this.readQuery(query);
    this.make(root);
    this.stop = store.listen((what, rows) => {
      if (what !== "latest") return;
      rows.forEach((row) => this.trend.add(row));
      for (const update of this.updates) update();
    });
    this.key = (event) => event.detail.key === "f" && this.toggle();
    document.addEventListener("view-key", this.key);
    this.begin();
  }

  close() {
    this.stop();
    document.removeEventListener("view-key", this.key);
    this.trend.close();
  }

  readQuery(query) {
    const [from, to] = [Date.parse(query.get("from") ?? ""), Date.parse(query.get("to") ?? "")];
    if (to > from) this.trend.fixed = { from, to };
    const minutes = Number(query.get("span"));
    this.trend.span = (minutes > 0 && minutes <= 100_000 ? minutes : SPAN_DEFAULT) * 60_000;
  }

  make(root) {
    const button = (props, words) => h("button", { type: "button", ...props }, words);
    this.failure = h("p", { class: "error hidden" });
    this.legend = h("tbody");
    this.gaps = h("div", { class: "empty hidden" });
    this.follow = button({ title: "f", onclick: () => this.toggle() });
    this.back = button({ onclick: () => this.trend.zoomBack() }, "Zoom back");
    this.spans = SPANS.map(([name, minutes]) => button({ onclick: () => this.setSpan(minutes) }, name));
    this.empty = h("p", { class: "empty" }, "No tag is chosen. Search for one above, or choose some in ", h("a", { href: "#/tags" }, "Tags"), ".");
    const save = button({ title: "What is in sight, as CSV", onclick: () => format.download("millstream-trend.csv", this.trend.csv()) }, "Save CSV");
    const tools = h("div", { class: "tools" }, h("div", { class: "group", role: "group", "aria-label": "Time" }, this.spans),
      this.follow, this.back, h("span", { class: "spread" }), this.several ? adder((tag) => this.add(tag)) : null, save);
    const head = [["Pen"], ["Tag"], ["At cursor", 1], ["Now", 1], ["Unit"], ["Lowest", 1], ["Highest", 1], ["Quality"], ...(this.several ? [[""]] : [])];
    put(root, h("section", { class: "panel" }, h("div", { class: "body top" }, tools, this.failure, this.empty, this.trend.element, this.gaps),
      h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, head.map(([word, num]) => h("th", { class: num ? "num" : "" }, word)))), this.legend))));
  }

  setSpan(minutes) {
    this.trend.setSpan(minutes * 60_000);
    this.drawTools();
  }

  toggle() {
    this.trend.freeze(this.trend.live());
    this.drawTools();
  }

  add(tag) {
    if (!tag || this.tags.includes(tag) || this.tags.length >= PENS_MAX) return;
    this.tags.push(tag);
    this.begin();
  }

  remove(tag) {
    this.tags.splice(this.tags.indexOf(tag), 1);
    this.begin();
  }

  async begin() {
    const { tags, trend } = this;
    this.empty.classList.toggle("hidden", tags.length > 0);
    trend.element.classList.toggle("hidden", tags.length === 0);
    const made = tags.map((tag, index) => legendRow(trend, tag, index, this.several ? () => this.remove(tag) : null));
    this.updates = made.map((one) => one.update);
    put(this.legend, made.map((one) => one.element));
    store.watch(tags);
    this.drawTools();
    await learn(tags).catch((error) => (trend.error = error));
    trend.setTags(tags);
  }

  drawTools() {
    const { trend } = this;
    this.spans.forEach((button, at) => button.setAttribute("aria-pressed", String(!trend.fixed && SPANS[at][1] * 60_000 === trend.span)));
    text(this.follow, trend.live() ? "Freeze" : "Follow again");
    this.follow.setAttribute("aria-pressed", String(!trend.live()));
    this.back.disabled = !trend.fixed;
    const fixed = trend.fixed && { from: new Date(trend.fixed.from).toISOString(), to: new Date(trend.fixed.to).toISOString() };
    const minutes = trend.span / 60_000;
    this.noted({ tags: this.tags, time: fixed ?? { span: minutes === SPAN_DEFAULT ? "" : minutes } });
  }

  drawLegend() {
    const { trend } = this;
    this.failure.classList.toggle("hidden", !trend.error);
    text(this.failure, trend.error?.message ?? "");
    drawGaps(this.gaps, trend);
    for (const update of this.updates) update();
    if (this.wasFixed !== trend.fixed) {
      this.wasFixed = trend.fixed;
      this.drawTools();
    }
  }
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
    const row = store.latest.get(tag) ?? { tag, unit: "", value: null, quality: "" };
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
