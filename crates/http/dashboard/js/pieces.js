// Small pieces that several views share: marks, range bars, breadcrumbs, addresses of tags.

import { h, s, colour, pen } from "./dom.js";
import * as format from "./format.js";
import { href } from "./route.js";

const SHAPES = {
  critical: () => s("rect", { x: 1, y: 1, width: 10, height: 10, class: "fill-critical" }),
  high: () => s("path", { d: "M6 0.5 L11.5 11 H0.5 Z", class: "fill-high" }),
  medium: () => s("path", { d: "M6 0 L12 6 L6 12 L0 6 Z", class: "fill-medium" }),
  low: () => s("circle", { cx: 6, cy: 6, r: 5, class: "fill-low" }),
  normal: () => s("path", { d: "M2 6 H10", class: "fill-normal" }),
  bad: () => s("circle", { cx: 6, cy: 6, r: 4.5, class: "hollow" }),
  uncertain: () => s("circle", { cx: 6, cy: 6, r: 4.5, class: "dashed" }),
};

/** A shape. */
export function shape(name) {
  return s("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, SHAPES[name]());
}

/** A shape and a word; `level` is critical, high, medium, low or normal. */
export function mark(level, word) {
  return h("span", { class: `state is-${level}` }, shape(level), word);
}

const SOURCE_LEVELS = { running: "normal", starting: "low", degraded: "medium", down: "critical" };

/** How bad a source's state is. */
export const sourceLevel = (word) => SOURCE_LEVELS[word] ?? "high";

/** Whether a quality is good, uncertain or bad. */
export function severity(quality) {
  if (quality.startsWith("Good")) return "good";
  return quality.startsWith("Uncertain") ? "uncertain" : "bad";
}

/** A quality: nothing to see where it is good, else a shape and the words of its name. */
export function quality(name) {
  const kind = severity(name);
  if (kind === "good") return h("span", { class: "dim" }, name === "Good" ? "" : words(name));
  const level = kind === "bad" ? "critical" : "medium";
  return h("span", { class: `state is-${level}`, title: name }, shape(kind), words(name));
}

/** `BadNoCommunication` → `Bad: no communication`. */
export function words(name) {
  const found = /^(Good|Uncertain|Bad)([A-Z].*)$/.exec(name);
  if (!found) return name;
  return `${found[1]}: ${found[2].replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase()}`;
}

const STALE_MS = 30_000;

/** Age of a row in milliseconds, and whether it is stale. */
export function age(row) {
  const millis = format.now() - format.ms(row.seen);
  return { millis, stale: millis > (row.stale_after_ms ?? STALE_MS) };
}

/** Whether a value lies outside its normal range: `high`, `low` or empty. */
export function outside(row) {
  if (!row.range || typeof row.value !== "number") return "";
  return row.value > row.range[1] ? "high" : row.value < row.range[0] ? "low" : "";
}

/** Draws a thin bar: the normal range with some room beside it, and where the value stands. */
export function drawRange(canvas, row) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const context = pen(canvas, width, height);
  if (!context) return;
  if (!row?.range || typeof row.value !== "number") {
    canvas.removeAttribute("title");
    return;
  }
  const [low, high] = row.range;
  const room = (high - low || 1) * 0.2;
  const x = (v) => Math.min(width - 3, Math.max(3, ((v - low + room) / (high - low + 2 * room)) * width));
  const middle = height / 2;
  context.fillStyle = colour("soft");
  context.fillRect(0, middle - 1, width, 2);
  context.fillStyle = colour("bar");
  context.fillRect(x(low), middle - 3, x(high) - x(low), 6);
  const where = outside(row);
  context.fillStyle = where ? colour("high-fill") : colour("mark");
  if (where) {
    const d = where === "high" ? 1 : -1;
    context.beginPath();
    context.moveTo(x(row.value) - 3 * d, middle - 6);
    context.lineTo(x(row.value) + 4 * d, middle);
    context.lineTo(x(row.value) - 3 * d, middle + 6);
    context.fill();
  } else {
    context.fillRect(x(row.value) - 1.5, middle - 6, 3, 12);
  }
  const title = `Normal ${low} to ${high} ${row.unit}${where ? `; the value is too ${where}` : ""}`;
  if (canvas.title !== title) canvas.title = title;
}

/** A tag's path, its last part first to be seen. */
export function tagLink(path) {
  const at = path.lastIndexOf("/") + 1;
  return h("a", { class: "path", href: href("tag", { path }), title: path },
    h("span", { class: "up" }, path.slice(0, at)), h("span", { class: "leaf" }, path.slice(at)));
}

/** The way up. */
export function crumbs(...steps) {
  return h("div", { class: "crumbs" }, h("a", { href: "#/overview" }, "Overview"),
    steps.map(([name, address]) => h("span", {}, address ? h("a", { href: address }, name) : name)));
}

/** A list to choose from. */
export function choice(label, chosen, options, changed) {
  const select = h("select", { "aria-label": label, onchange: () => changed(select.value) },
    options.map(([value, words]) => h("option", { value, selected: chosen === value }, words)));
  return select;
}

/** A time in the plant's zone with UTC on hover. */
export function time(iso, show = format.clockMs) {
  const t = format.ms(iso);
  return h("time", { title: `${format.dateTime(t)} ${format.zoneName()}\n${format.utc(t)}` }, show(t));
}
