// All tags: found by any part of their path, live, up to eight of them to one trend.

import { classes, h, put, text } from "../dom.js";
import * as format from "../format.js";
import { spark, sparkAdd } from "../history.js";
import { age, crumbs, drawRange, mark, quality, severity, tagLink } from "../pieces.js";
import { go, note } from "../route.js";
import { sparkTime } from "../spark.js";
import * as store from "../store.js";
import { VirtualTable } from "../table.js";
import { PENS_MAX } from "../trend.js";

const REFRESH_MS = 10_000;

export function tagsView(view, query) {
  const filter = { search: query.get("search") ?? "", quality: query.get("quality") ?? "", sort: query.get("sort") ?? "", match: query.get("match") ?? "" };
  const chosen = new Set();
  const count = h("span", { class: "dim", "aria-live": "polite" });
  const failure = h("p", { class: "error hidden" });
  const search = h("input", { type: "search", placeholder: "Any part of a path", "aria-label": "Search tags", value: filter.search, size: 32 });
  search.value = filter.search;
  const show = h("button", { type: "button", onclick: () => go("trend", { tag: [...chosen] }) });

  const table = new VirtualTable({
    async fetch(offset, limit, signal) {
      const { body, headers } = await store.get("/v1/latest", { ...filter, offset, limit }, signal);
      const total = Number(headers.get("millstream-total"));
      text(count, `${format.count(total)} ${total === 1 ? "tag" : "tags"}`);
      return { rows: body.map(store.merge), total };
    },
    make: () => makeRow(chosen, choose),
    seen: (rows) => store.watch(rows.map((row) => row.tag)),
    open: (row) => go("tag", { path: row.tag }),
    mark: (row) => choose(row.tag, !chosen.has(row.tag)),
    failed(error) {
      failure.classList.toggle("hidden", !error);
      text(failure, error?.message ?? "");
    },
  });

  function choose(tag, on) {
    if (on && chosen.size < PENS_MAX) chosen.add(tag);
    else chosen.delete(tag);
    drawChosen();
    table.plan();
  }

  function drawChosen() {
    show.disabled = chosen.size === 0;
    text(show, chosen.size ? `Show ${chosen.size} on a trend` : `Choose up to ${PENS_MAX} for a trend`);
  }

  let typing = 0;
  function changed() {
    note("tags", filter);
    table.reset();
  }
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      filter.search = search.value.trim();
      changed();
    }, 150);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") table.body.focus();
  });

  const head = h("div", { class: "vhead", role: "row" }, h("span", {}, ""), h("span", {}, "Tag"), h("span", { class: "num" }, "Value"), h("span", {}, "Unit"),
    h("span", { class: "c-range" }, "Normal range"), h("span", { class: "c-quality" }, "Quality"), h("span", { class: "num" }, "Age"), h("span", { class: "c-spark" }, "Last 5 min"));
  put(view, crumbs(["Tags"]),
    h("div", { class: "head" }, h("h1", {}, "Tags"), search,
      choice("Quality", filter, "quality", [["", "Any quality"], ["abnormal", "Bad or uncertain"], ["bad", "Bad"], ["uncertain", "Uncertain"], ["good", "Good"]], changed),
      choice("Order", filter, "sort", [["", "By path"], ["quality", "Worst first"], ["age", "Oldest first"]], changed),
      count, h("span", { class: "spread" }), show),
    failure, h("section", { class: "panel vtable" }, head, table.body));
  drawChosen();
  table.reset();
  if (query.get("focus") === "search") search.focus();

  const stop = store.listen((what, rows) => {
    if (what !== "latest") return;
    rows.forEach(sparkAdd);
    table.plan();
  });
  const timers = [setInterval(() => !document.hidden && table.plan(), 1000), setInterval(() => !document.hidden && table.refresh(), REFRESH_MS)];
  return () => {
    stop();
    timers.forEach(clearInterval);
    clearTimeout(typing);
    table.close();
  };
}

function choice(label, filter, name, options, changed) {
  const select = h("select", {
    "aria-label": label,
    onchange: () => {
      filter[name] = select.value;
      changed();
    },
  }, options.map(([value, words]) => h("option", { value, selected: filter[name] === value }, words)));
  return select;
}

/** One row's element; `show` fills it with a row, or says that it is on its way. */
function makeRow(chosen, choose) {
  const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": "On the trend" });
  const path = h("span", { class: "path" });
  const value = h("span", { class: "value" });
  const unit = h("span", { class: "unit" });
  const range = h("canvas", { class: "range" });
  const state = h("span", { class: "c-quality" });
  const old = h("span", { class: "age" });
  const line = h("canvas", { class: "spark" });
  const element = h("div", { class: "vrow", role: "row" }, box, path, value, unit, h("span", { class: "c-range" }, range), state, old, h("span", { class: "c-spark" }, line));
  let shown = null;
  box.addEventListener("change", () => shown && choose(shown.tag, box.checked));
  let told = "";

  function show(row) {
    const other = shown?.tag !== row?.tag;
    shown = row ?? null;
    if (!row) {
      if (other || !path.textContent) [path, value, unit, state, old].forEach((one) => put(one));
      element.classList.add("loading");
      told = "";
      return;
    }
    element.classList.remove("loading");
    if (other || !path.firstChild) put(path, tagLink(row.tag));
    box.checked = chosen.has(row.tag);
    box.disabled = !box.checked && chosen.size >= PENS_MAX;
    const { millis, stale } = age(row);
    element.classList.toggle("stale", stale || severity(row.quality) === "bad");
    text(value, format.value(row));
    value.title = typeof row.value === "string" ? row.value : "";
    text(unit, row.unit);
    const word = stale && severity(row.quality) === "good" ? "stale" : row.quality;
    if (told !== word) put(state, word === "stale" ? mark("medium", "Stale") : quality(row.quality));
    told = word;
    text(old, `${stale ? "◆ " : ""}${format.span(millis)}`);
    classes(old, stale ? "age is-stale" : "age");
    old.title = stale ? `Stale: last confirmed ${format.utc(format.ms(row.seen))}` : "";
    drawRange(range, row);
    drawLine(row);
  }

  function drawLine(row) {
    if (row.kind === "text") return sparkTime(line, { points: [], gaps: [] }, 0);
    const here = () => shown?.tag === row.tag;
    sparkTime(line, spark(row.tag, here, () => here() && drawLine(row)), format.now());
  }
  return { element, show, at: 0 };
}
