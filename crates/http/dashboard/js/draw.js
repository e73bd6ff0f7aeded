// How a panel of the trend is drawn: scale, ticks, lines, bands, hatched gaps. Knows no data source.

import { colour } from "./dom.js";
import * as format from "./format.js";
import { severity } from "./pieces.js";

/** Pixels to the left and right of a panel. */
export const LEFT = 64;
export const RIGHT = 26;
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3], [], [7, 3], [2, 3], [10, 3, 2, 3]];

/** Sets colour, width and dashes of a pen. */
export function strokeOf(context, index) {
  context.strokeStyle = colour(`pen${index + 1}`);
  context.lineWidth = index < 4 ? 1.6 : 2.4;
  context.setLineDash(DASHES[index]);
}

/** Hatches a time without data. */
export function hatch(context, gap, x, top, height, box) {
  const [from, to] = [Math.max(x(gap.from), box.left), Math.min(x(gap.to), box.right)];
  if (to < box.left || from > box.right) return;
  context.save();
  context.beginPath();
  context.rect(from, top, Math.max(2, to - from), height);
  context.clip();
  context.fillStyle = colour("soft");
  context.fillRect(from, top, Math.max(2, to - from), height);
  context.strokeStyle = colour("hatch");
  context.lineWidth = 1;
  context.setLineDash([]);
  context.beginPath();
  for (let at = from - height - ((from - height) % 8); at < to + 8; at += 8) {
    context.moveTo(at, top + height);
    context.lineTo(at + height, top);
  }
  context.stroke();
  context.restore();
}

/** Lowest and highest of what is in sight, with some room. */
export function scaleOf(panel, range) {
  if (panel.series.every(({ row }) => row?.kind === "text")) return { low: 0, high: 1, words: true };
  if (panel.series.every(({ row }) => row?.kind === "bool")) return { low: -0.2, high: 1.2, onOff: true };
  let [low, high] = [Infinity, -Infinity];
  for (const { one } of panel.series) {
    for (const p of one.points) {
      if (p.v === null || p.t < range.from || p.t > range.to) continue;
      low = Math.min(low, p.min ?? p.v);
      high = Math.max(high, p.max ?? p.v);
    }
  }
  if (low > high) [low, high] = [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return { low: low - room, high: high + room };
}

/** Shades what lies outside the normal range, where all tags of the panel share one. */
export function drawNormal(context, panel, y, left, right, top, height) {
  const ranges = new Set(panel.series.map(({ row }) => JSON.stringify(row?.range ?? null)));
  const only = ranges.size === 1 ? JSON.parse([...ranges][0]) : null;
  if (!only) return;
  const [from, to] = [Math.max(top, y(only[1])), Math.min(top + height, y(only[0]))];
  context.fillStyle = colour("panel");
  context.fillRect(left, top, right - left, height);
  context.fillStyle = colour("raised");
  if (to > from) context.fillRect(left, from, right - left, to - from);
}

/** Draws the value axis and the unit. */
export function drawTicks(context, scale, y, left, right, panel, top) {
  if (scale.words) return;
  const rough = (scale.high - scale.low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = scale.onOff ? 1 : [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0));
  context.lineWidth = 1;
  context.setLineDash([]);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let v = Math.ceil(scale.low / step) * step; v <= scale.high; v += step) {
    context.strokeStyle = colour("soft");
    context.beginPath();
    context.moveTo(left, Math.round(y(v)) + 0.5);
    context.lineTo(right, Math.round(y(v)) + 0.5);
    context.stroke();
    context.fillStyle = colour("dim");
    context.fillText(scale.onOff ? (v ? "on" : "off") : v.toFixed(Math.min(decimals, 6)), left - 6, y(v));
  }
  context.textAlign = "left";
  context.fillStyle = colour("text");
  context.fillText(panel.unit, left + 6, top + 10);
}

/** Draws a series: bad points hollow, uncertain ones dashed, gaps left out. */
export function drawLine(context, one, index, row, x, y, range) {
  strokeOf(context, index);
  // Where samples are far apart the value stood (deadband); a slope would invent values.
  const discrete = row?.kind === "bool" || row?.kind === "i64";
  const stands = (t) => discrete || (one.every === 0 && t > 2000);
  if (one.every > 0 && row?.kind !== "bool") drawBand(context, one, index, x, y);
  context.lineJoin = "round";
  let before = null;
  let dashed = null;
  const stroke = () => dashed !== null && context.stroke();
  for (const p of one.points) {
    const kind = severity(p.quality);
    const hole = before && one.gaps.some((gap) => gap.from < p.t && gap.to > before.t);
    if (p.v === null || kind === "bad") {
      stroke();
      [before, dashed] = [null, null];
      if (p.v !== null && p.t >= range.from) hollow(context, x(p.t), y(p.v));
      continue;
    }
    const uncertain = kind === "uncertain";
    if (!before || hole || dashed !== uncertain) {
      stroke();
      context.setLineDash(uncertain ? [3, 3] : DASHES[index]);
      context.beginPath();
      context.moveTo(x(p.t), y(before && !hole ? before.v : p.v));
    }
    if (before && !hole && stands(p.t - before.t)) context.lineTo(x(p.t), y(before.v));
    context.lineTo(x(p.t), y(p.v));
    [before, dashed] = [p, uncertain];
  }
  // The last value stands until now, unless it is known not to.
  if (before && (discrete || one.every === 0) && !one.gaps.some((gap) => gap.to > before.t && gap.from < range.to)) {
    context.lineTo(x(Math.min(range.to, format.now())), y(before.v));
  }
  stroke();
  context.setLineDash([]);
}

function drawBand(context, one, index, x, y) {
  context.fillStyle = colour(`pen${index + 1}`);
  context.globalAlpha = 0.16;
  const step = one.every * 1000;
  const wide = Math.max(1, x(step) - x(0) + 0.3);
  for (const p of one.points) {
    if (p.min !== null && p.max !== null) context.fillRect(x(p.t - step / 2), y(p.max), wide, Math.max(1, y(p.min) - y(p.max)));
  }
  context.globalAlpha = 1;
}

function hollow(context, x, y) {
  context.save();
  context.setLineDash([]);
  context.strokeStyle = colour("critical-fill");
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, 3, 0, 2 * Math.PI);
  context.stroke();
  context.restore();
}

/** Draws a series of texts: a band for each run of the same word, the word in it where it fits. */
export function drawWords(context, one, x, top, height, range) {
  const runs = [];
  for (const p of one.points) {
    const word = severity(p.quality) === "bad" ? "" : String(p.text ?? "");
    const last = runs.at(-1);
    const hole = last && one.gaps.some((gap) => gap.from < p.t && gap.to > last.to);
    if (last && last.word === word && !hole) last.to = p.t;
    else {
      if (last && !hole) last.to = p.t;
      runs.push({ word, from: p.t, to: p.t });
    }
  }
  const last = runs.at(-1);
  if (last && !one.gaps.some((gap) => gap.to > last.to && gap.from < range.to)) last.to = Math.min(range.to, format.now());
  context.textAlign = "left";
  context.textBaseline = "middle";
  const shades = new Map();
  for (const run of runs.filter((one) => one.word)) {
    if (!shades.has(run.word)) shades.set(run.word, ["soft", "line", "bar"][shades.size % 3]);
    const [from, to] = [Math.max(x(run.from), LEFT), x(run.to)];
    if (to <= LEFT) continue;
    context.fillStyle = colour(shades.get(run.word));
    context.fillRect(from, top + 4, Math.max(1, to - from - 1), height - 8);
    context.fillStyle = colour("text");
    if (to - from > context.measureText(run.word).width + 10) context.fillText(run.word, from + 5, top + height / 2);
  }
}

/** Draws the time axis. */
export function drawTimes(context, range, x, top, width) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const rough = (range.to - range.from) / 1000 / Math.max(2, (width - LEFT - RIGHT) / 110);
  const step = (steps.find((one) => one >= rough) ?? 604800) * 1000;
  const show = step >= 86_400_000 ? format.day : step >= 60_000 ? format.clockShort : format.clock;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (let t = Math.ceil(range.from / step) * step; t <= range.to; t += step) {
    context.strokeStyle = colour("line");
    context.beginPath();
    context.moveTo(Math.round(x(t)) + 0.5, top);
    context.lineTo(Math.round(x(t)) + 0.5, top + 4);
    context.stroke();
    context.fillStyle = colour("dim");
    context.fillText(show(t), x(t), top + 7);
  }
}

