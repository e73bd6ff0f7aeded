// The trend: up to eight tags over one time, a panel for each unit, gaps hatched.

import { colour, h, pen, put } from "./dom.js";
import * as format from "./format.js";
import * as history from "./history.js";
import { CallError, latest } from "./store.js";
import { severity, words } from "./pieces.js";
import { drawLine, drawNormal, drawTicks, drawTimes, drawWords, hatch, LEFT, RIGHT, scaleOf, strokeOf } from "./draw.js";

export const PENS_MAX = 8;
const AXIS = 24;
const GAP_PANEL = 14;
const RAW_MS = 5 * 60_000;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** Draws the sample of a pen for a legend. */
export function penMark(index) {
  const canvas = h("canvas", { class: "pen", "aria-hidden": "true" });
  requestAnimationFrame(() => {
    const context = pen(canvas, 34, 12);
    if (context) strokeOf(context, index);
    context?.beginPath();
    context?.moveTo(1, 6);
    context?.lineTo(33, 6);
    context?.stroke();
  });
  return canvas;
}

export class Trend {
  /** `changed()` hears of a new time, new data or a new place of the pointer. */
  constructor(changed, height = 380) {
    this.changed = changed;
    this.height = height;
    this.canvas = h("canvas", { role: "img", "aria-label": "Trend", tabindex: "0" });
    this.tip = h("div", { class: "tip hidden" });
    this.element = h("div", { class: "chart" }, this.canvas, this.tip);
    this.series = [];
    this.span = 15 * 60_000;
    this.fixed = null;
    this.back = [];
    this.frozen = null;
    this.cursor = null;
    this.error = null;
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.element);
    this.listenPointer();
    this.timer = setInterval(() => this.follow(), 250);
    this.tail = 0;
  }

  close() {
    this.abort?.abort();
    this.sizes.disconnect();
    clearInterval(this.timer);
  }

  /** The time in sight. */
  range() {
    if (this.fixed) return this.fixed;
    const to = this.frozen ?? format.now();
    return { from: to - this.span, to };
  }

  live() {
    return !this.fixed && this.frozen === null;
  }

  setTags(tags) {
    const before = new Map(this.series.map((one) => [one.tag, one]));
    this.series = tags.slice(0, PENS_MAX).map((tag) => before.get(tag) ?? { tag, points: [], gaps: [] });
    this.load();
  }

  setSpan(millis) {
    [this.span, this.fixed, this.back] = [millis, null, []];
    if (this.frozen !== null) this.frozen = format.now();
    this.load();
  }

  setFixed(range) {
    this.fixed = range;
    this.load();
  }

  freeze(on) {
    this.frozen = on ? format.now() : null;
    if (!on) [this.fixed, this.back] = [null, []];
    this.load();
  }

  zoom(from, to) {
    this.back.push(this.fixed);
    this.setFixed({ from, to });
  }

  zoomBack() {
    if (!this.fixed) return;
    this.setFixed(this.back.pop() ?? null);
  }

  /** Width of a window that suits the time and the screen, in seconds; 0 for raw samples. */
  every(range) {
    if (range.to - range.from <= RAW_MS) return 0;
    const wanted = (range.to - range.from) / 1000 / Math.max(200, this.canvas.clientWidth || 900);
    return STEPS_S.find((step) => step >= wanted * 2) ?? 86400;
  }

  async load() {
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const range = this.range();
    const every = this.every(range);
    this.tail = Date.now();
    const jobs = this.series.map(async (one) => {
      const found = await fetchOne(one.tag, range.from, range.to, every, signal);
      Object.assign(one, found, { loadedTo: range.to });
    });
    await this.settle(jobs);
  }

  async settle(jobs) {
    try {
      await Promise.all(jobs);
      this.error = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.error = error;
    }
    this.draw();
    this.changed();
  }

  /** While live: move on, and fetch what is new at the end. */
  follow() {
    if (document.hidden || !this.live() || !this.series.length) return;
    this.draw();
    const range = this.range();
    const pause = Math.max(2000, (range.to - range.from) / 300);
    if (Date.now() - this.tail < pause) return;
    this.tail = Date.now();
    const { signal } = this.abort;
    const jobs = this.series.map(async (one) => {
      const every = one.every ?? this.every(range);
      const from = Math.max(range.from, (one.loadedTo ?? range.from) - 2 * Math.max(1000, every * 1000));
      const found = await fetchOne(one.tag, from, range.to, every, signal);
      one.points = [...one.points.filter((p) => p.t >= range.from - 60_000 && p.t < (found.points[0]?.t ?? from)), ...found.points];
      one.gaps = [...one.gaps.filter((g) => g.to >= range.from && g.from < from && g.to < from), ...found.gaps];
      one.loadedTo = range.to;
    });
    this.settle(jobs);
  }

  /** Adds a live value while raw samples are shown. */
  add(row) {
    const one = this.series.find((series) => series.tag === row.tag);
    if (!one || one.every !== 0 || !this.live()) return;
    const t = format.ms(row.time);
    if (t > (one.points.at(-1)?.t ?? 0)) one.points.push({ t, v: history.number(row.value), text: row.value, quality: row.quality });
  }

  /** The point of a series at or before a time, unless a gap lies between. */
  at(one, t) {
    let [low, high] = [0, one.points.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (one.points[middle].t <= t) low = middle + 1;
      else high = middle;
    }
    const found = one.points[low - 1];
    if (one.every > 0) {
      const next = one.points[low];
      const near = next && (!found || next.t - t < t - found.t) ? next : found;
      return near && Math.abs(near.t - t) <= one.every * 1000 ? near : undefined;
    }
    return found && !one.gaps.some((gap) => gap.from <= t && t < gap.to) ? found : undefined;
  }

  /** Panels by unit, in the order of the tags. */
  panels() {
    const byUnit = new Map();
    this.series.forEach((one, index) => {
      const row = latest.get(one.tag);
      const unit = row?.unit ?? "";
      const key = unit || (row?.kind === "bool" ? "on/off" : row?.kind === "text" ? "text" : `of ${one.tag}`);
      if (!byUnit.has(key)) byUnit.set(key, { unit, series: [] });
      byUnit.get(key).series.push({ one, index, row });
    });
    return [...byUnit.values()];
  }

  draw() {
    const width = this.canvas.clientWidth;
    const panels = this.panels();
    const total = Math.max(this.height, panels.length * 110 + AXIS);
    this.canvas.style.height = `${total}px`;
    const context = pen(this.canvas, width, total);
    if (!context) return;
    const range = this.range();
    const each = (total - AXIS - GAP_PANEL * Math.max(0, panels.length - 1)) / Math.max(1, panels.length);
    this.box = { left: LEFT, right: width - RIGHT, top: 0, bottom: total - AXIS };
    this.x = (t) => LEFT + ((t - range.from) / (range.to - range.from)) * (width - LEFT - RIGHT);
    this.t = (x) => range.from + ((x - LEFT) / (width - LEFT - RIGHT)) * (range.to - range.from);
    context.font = '11px system-ui, "Segoe UI", sans-serif';
    panels.forEach((panel, at) => this.drawPanel(context, panel, at * (each + GAP_PANEL), each, width));
    drawTimes(context, range, this.x, total - AXIS, width);
    this.drawCursor(context, total - AXIS);
  }

  drawPanel(context, panel, top, height, width) {
    const [left, right] = [LEFT, width - RIGHT];
    context.fillStyle = colour("raised");
    context.fillRect(left, top, right - left, height);
    const scale = scaleOf(panel, this.range());
    const y = (v) => top + height - 6 - ((v - scale.low) / (scale.high - scale.low)) * (height - 12);
    drawNormal(context, panel, y, left, right, top, height);
    drawTicks(context, scale, y, left, right, panel, top);
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, height);
    context.clip();
    for (const { one } of panel.series) for (const gap of one.gaps) hatch(context, gap, this.x, top, height, this.box);
    const band = height / panel.series.length;
    panel.series.forEach(({ one, index, row }, at) => {
      if (scale.words) drawWords(context, one, this.x, top + at * band, band, this.range());
      else drawLine(context, one, index, row, this.x, y, this.range());
    });
    context.restore();
    this.drawEnds(context, panel, y, right);
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, right - left - 1, height - 1);
  }

  /** The number of each pen at its line's end, kept apart. */
  drawEnds(context, panel, y, right) {
    const ends = panel.series.map(({ one, index }) => {
      const last = one.points.findLast((p) => p.v !== null && p.t <= this.range().to);
      return last ? { index, y: y(last.v) } : null;
    }).filter(Boolean).sort((a, b) => a.y - b.y);
    let below = -Infinity;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const end of ends) {
      below = Math.max(end.y, below + 12);
      context.fillStyle = colour(`pen${end.index + 1}`);
      context.font = '600 11px system-ui, "Segoe UI", sans-serif';
      context.fillText(String(end.index + 1), right + 6, below);
    }
    context.font = '11px system-ui, "Segoe UI", sans-serif';
  }

  drawCursor(context, bottom) {
    if (this.drag) {
      context.fillStyle = colour("mark");
      context.globalAlpha = 0.15;
      context.fillRect(Math.min(this.drag.from, this.drag.to), 0, Math.abs(this.drag.to - this.drag.from), bottom);
      context.globalAlpha = 1;
    }
    if (this.cursor === null) return;
    const x = Math.round(this.x(this.cursor)) + 0.5;
    if (x < LEFT || x > this.box.right) return;
    context.strokeStyle = colour("dim");
    context.lineWidth = 1;
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, bottom);
    context.stroke();
  }

  listenPointer() {
    const place = (event) => Math.min(Math.max(event.offsetX, LEFT), this.box?.right ?? LEFT);
    const on = (name, react) => this.canvas.addEventListener(name, react);
    on("pointerdown", (event) => {
      if (event.button !== 0 || !this.box) return;
      this.drag = { from: place(event), to: place(event) };
      this.canvas.setPointerCapture(event.pointerId);
    });
    on("pointermove", (event) => {
      if (!this.box) return;
      if (this.drag) this.drag.to = place(event);
      this.point(this.t(place(event)), event);
    });
    on("pointerup", (event) => {
      const drag = this.drag;
      this.drag = null;
      if (drag && Math.abs(drag.to - drag.from) > 6) {
        const [from, to] = [this.t(Math.min(drag.from, drag.to)), this.t(Math.max(drag.from, drag.to))];
        if (to - from >= 1000) this.zoom(from, to);
      } else this.point(this.t(place(event)), event);
    });
    on("pointercancel", () => (this.drag = null));
    on("pointerleave", () => {
      this.cursor = null;
      this.tip.classList.add("hidden");
      this.draw();
      this.changed();
    });
    on("dblclick", () => this.zoomBack());
    on("keydown", (event) => this.key(event));
  }

  key(event) {
    const range = this.range();
    const step = (range.to - range.from) / 100;
    if (event.key === "ArrowLeft") this.point((this.cursor ?? range.to) - step);
    else if (event.key === "ArrowRight") this.point((this.cursor ?? range.from) + step);
    else if (event.key === "Backspace" || event.key === "Escape") this.zoomBack();
    else return;
    event.preventDefault();
  }

  /** Moves the cursor; a gap under it says its reason. */
  point(t, event) {
    this.cursor = t;
    const gaps = new Map();
    for (const one of this.series) {
      for (const gap of one.gaps) if (gap.from <= t && t < gap.to) gaps.set(`${gap.source} ${gap.from} ${gap.reason}`, gap);
    }
    put(this.tip, h("div", {}, format.clockMs(t)), [...gaps.values()].map((gap) => h("div", {}, gapWords(gap))));
    this.tip.classList.toggle("hidden", !event);
    if (event) {
      const x = this.x(t);
      const flip = x > this.box.right - 240;
      this.tip.style.left = flip ? "auto" : `${x + 10}px`;
      this.tip.style.right = flip ? `${this.canvas.clientWidth - x + 10}px` : "auto";
      this.tip.style.top = `${Math.max(4, event.offsetY - 40)}px`;
    }
    this.draw();
    this.changed();
  }

  /** Everything in sight as lines of CSV. */
  csv() {
    const range = this.range();
    const lines = ["tag,time,value,min,max,unit,quality"];
    for (const one of this.series) {
      const unit = latest.get(one.tag)?.unit ?? "";
      for (const p of one.points) {
        if (p.t < range.from || p.t > range.to) continue;
        const fields = [one.tag, new Date(p.t).toISOString(), p.text ?? p.v, p.min, p.max, unit, p.quality];
        lines.push(fields.map(format.csv).join(","));
      }
    }
    return lines;
  }
}

async function fetchOne(tag, from, to, every, signal) {
  const kind = latest.get(tag)?.kind;
  if (every === 0 || kind === "text") {
    const raw = await history.samples(tag, from, to, signal);
    if (raw) return { ...raw, every: 0 };
    if (kind === "text") throw new CallError(`${tag} has too many samples for this time; choose a shorter one.`);
  }
  const step = every || 1;
  return { ...(await history.rollups(tag, from, to, step, signal)), every: step };
}

/** A gap in words. */
export function gapWords(gap) {
  const lost = gap.count ? `, ${format.count(gap.count)} missing` : "";
  return `Gap of ${gap.source}: ${gap.reason.replaceAll("-", " ")}${lost} (${format.clock(gap.from)} to ${format.clock(gap.to)})`;
}

/** A point's value as text for a readout. */
export function readout(row, point) {
  if (!point) return "–";
  if (severity(point.quality) === "bad") return words(point.quality);
  return format.value({ ...row, value: typeof point.text === "number" || point.text === undefined ? point.v : point.text });
}
