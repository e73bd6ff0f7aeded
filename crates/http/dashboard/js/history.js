// History of tags, asked with few requests at a time, and kept while it is fresh.

import { get } from "./store.js";
import { ms } from "./format.js";

const AT_ONCE = 4;
const SPARK_MS = 5 * 60_000;
const SPARK_EVERY_S = 5;
const KEEP_MS = 60_000;
const SPARKS_MAX = 400;
let running = 0;
const waiting = [];

/** Runs a job when one of a few places is free; the newest job goes first. */
function queue(job) {
  return new Promise((resolve, reject) => {
    waiting.push({ job, resolve, reject });
    next();
  });
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    const { job, resolve, reject } = waiting.pop();
    running += 1;
    job().then(resolve, reject).finally(() => {
      running -= 1;
      next();
    });
  }
}

const sparks = new Map();

/** Points `[t, v]` and gaps of a tag's last minutes, at once; fetched in the background where they are not known. */
export function spark(tag, wanted, arrived) {
  const known = sparks.get(tag);
  if (known && Date.now() - known.at < KEEP_MS) return known;
  const entry = { at: Date.now(), points: known?.points ?? [], gaps: known?.gaps ?? [] };
  if (sparks.size >= SPARKS_MAX) sparks.delete(sparks.keys().next().value);
  sparks.set(tag, entry);
  queue(async () => {
    if (!wanted()) return sparks.delete(tag);
    const query = { tag, from: "-5m", every: `${SPARK_EVERY_S}s`, agg: "avg" };
    const { body } = await get("/v1/rollups", query);
    const fetched = body.rollups.map((row) => [ms(row.time), row.avg]);
    const last = fetched.at(-1)?.[0] ?? 0;
    entry.points = [...fetched, ...entry.points.filter(([t]) => t > last)];
    entry.gaps = body.gaps.map(gap);
    arrived();
  }).catch(() => {});
  return entry;
}

/** Adds a live value to a spark, at most one a second. */
export function sparkAdd(row) {
  const entry = sparks.get(row.tag);
  if (!entry || typeof row.value !== "number") return;
  const t = ms(row.time);
  const points = entry.points;
  const last = points.at(-1)?.[0] ?? 0;
  if (t - last >= 1000) points.push([t, row.value]);
  while (points.length && points[0][0] < t - SPARK_MS) points.shift();
}

/** Raw samples of a tag; null where there are more than fit. */
export async function samples(tag, from, to, signal) {
  const { body } = await queue(() => get("/v1/samples", { tag, from: iso(from), to: iso(to), limit: 10_000 }, signal));
  if (body.next) return null;
  const points = body.samples.map((sample) => {
    return { t: ms(sample.time), v: number(sample.value), text: sample.value, quality: sample.quality };
  });
  return { points, gaps: body.gaps.map(gap) };
}

/** Rollup rows of a tag. */
export async function rollups(tag, from, to, everyS, signal) {
  const query = { tag, from: iso(from), to: iso(to), every: `${everyS}s`, agg: "avg,min,max" };
  const { body } = await queue(() => get("/v1/rollups", query, signal));
  const half = everyS * 500;
  const points = body.rollups.map((row) => ({ t: ms(row.time) + half, v: row.avg, min: row.min, max: row.max, quality: "Good" }));
  return { points, gaps: body.gaps.map(gap) };
}

const iso = (t) => new Date(t).toISOString();
const gap = (g) => ({ ...g, from: ms(g.from), to: ms(g.to) });

/** A number to draw: booleans as 0 and 1, text not at all. */
export const number = (v) => (typeof v === "number" ? v : typeof v === "boolean" ? Number(v) : null);
