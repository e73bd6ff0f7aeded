// What the views of flows, deliveries and dead letters share: lanes, states, backlog, errors, addresses.

import { h } from "./dom.js";
import * as format from "./format.js";
import { mark, time } from "./pieces.js";
import { href } from "./route.js";
import { sparkRate } from "./spark.js";

/** The five patterns, in the order of the page; `section` is what to add to the configuration. */
export const LANES = [
  { pattern: "telemetry", name: "Telemetry", section: "source" },
  { pattern: "request", name: "Request and reply", section: "request" },
  { pattern: "event", name: "Events", section: "subscriber" },
  { pattern: "batch", name: "Batch", section: "batch" },
  { pattern: "sync", name: "Synchronisation", section: "sync" },
];

export const laneName = (pattern) => LANES.find((lane) => lane.pattern === pattern)?.name ?? pattern;

const FLOW_LEVELS = { running: "normal", paused: "low", degraded: "medium", stopped: "critical" };
const FLOW_ORDER = ["stopped", "degraded", "paused", "running"];
const DELIVERY_LEVELS = {
  waiting: "normal", "in-flight": "normal", delivered: "normal", superseded: "normal", skipped: "normal",
  retrying: "medium", "in-doubt": "medium", expired: "high", dead: "high",
};
const LETTER_LEVELS = { open: "high", replayed: "normal", discarded: "normal" };
const BREAKER_LEVELS = { closed: "normal", "half-open": "low", open: "high" };

export const flowLevel = (state) => FLOW_LEVELS[state] ?? "high";
export const flowState = (flow) => mark(flowLevel(flow.state), flow.state);
export const deliveryState = (state) => mark(DELIVERY_LEVELS[state] ?? "high", state);
export const letterState = (state) => mark(LETTER_LEVELS[state] ?? "high", state);
export const breakerState = (breaker) => (breaker ? mark(BREAKER_LEVELS[breaker] ?? "high", breaker) : "none");
export const outcomeMark = (outcome) => mark(!outcome || /^(delivered|2\d\d|done)/.test(outcome) ? "normal" : "medium", outcome || "under way");

const REASONS = {
  rejected: "The target refused it", attempts: "Every try that is allowed failed", expired: "It grew older than the flow allows", mapping: "No body could be made of it: the mapping failed",
};

/** Why something lies among the dead letters. */
export const reasonOf = (letter) => REASONS[letter.reason] ?? letter.reason;
export const REASON_WORDS = [["rejected", "Refused"], ["attempts", "Tries used up"], ["expired", "Expired"], ["mapping", "Mapping failed"]];

/** Worst first, then by name. */
export const worstFirst = (a, b) => FLOW_ORDER.indexOf(a.state) - FLOW_ORDER.indexOf(b.state) || a.name.localeCompare(b.name);

/** Where a flow is looked at: telemetry flows are the sources. */
export const flowHref = (flow) => (flow.pattern === "telemetry" ? href("sources", { name: flow.name }) : href("flow", { name: flow.name }));

/** A message's id, leading to its trace. */
export const messageLink = (id) => (id ? h("a", { class: "id", href: href("trace", { id }), title: `Follow ${id}` }, id) : "–");

/** Milliseconds with three figures. */
export const millis = (ms) => (ms === null || ms === undefined ? "–" : format.nanos(ms * 1e6));

/** How long ago, as words; empty where it never was. */
export const ago = (iso) => (iso ? `${format.span(format.now() - format.ms(iso))} ago` : "");

/** How old, as words. */
export const old = (iso) => (iso ? format.span(format.now() - format.ms(iso)) : "");

/** Messages in a second, with enough figures to tell little from nothing. */
export function rate(v) {
  if (!Number.isFinite(v)) return "–";
  return v === 0 ? "0" : v < 10 ? v.toFixed(2) : format.count(Math.round(v * 10) / 10);
}

/** The backlog and the age of its oldest, as words. */
export function backlog(flow) {
  if (!flow.backlog) return "0";
  return `${format.count(flow.backlog)}${flow.oldest ? `, oldest ${old(flow.oldest)}` : ""}`;
}

/** What is wrong now, or what was last. */
export function trouble(flow) {
  if (flow.state !== "running" && flow.reason) return flow.state === "paused" && flow.paused_by ? `${flow.reason} (by ${flow.paused_by})` : flow.reason;
  return flow.last_error ? `${flow.last_error.text}, ${ago(flow.last_error.time)}` : "";
}

/** Columns that the overview and the list of flows share. */
export const FLOW_COLUMNS = {
  state: { head: "State", cls: "c-state", label: "", sign: (flow) => flow.state, make: flowState },
  name: { head: "Flow", cls: "c-name", label: "", sign: (flow) => flow.name, make: (flow) => h("a", { href: flowHref(flow) }, flow.name) },
  rate: { head: "Messages/s", num: true, cls: "c-figure", text: (flow) => rate(flow.rate) },
  p99: { head: "p99", num: true, cls: "c-figure", text: (flow) => millis(flow.p99_ms) },
  backlog: { head: "Backlog", num: true, cls: "c-backlog", text: backlog },
  dead: { head: "Given up", num: true, sign: (flow) => flow.dead, make: (flow) => deadLink(flow) },
  trouble: {
    head: "What is wrong", label: "", cls: "words", sign: (flow) => `${flow.state === "running"}${trouble(flow)}`,
    make: (flow) => (trouble(flow) ? h("span", { class: flow.state === "running" ? "dim" : "" }, trouble(flow)) : null),
  },
  spark: { head: "Last minutes", cls: "col-spark", label: "", draw: (canvas, flow) => sparkRate(canvas, flow.spark ?? [], Math.max(2, flow.spark?.length ?? 2)) },
};

/** How many messages a flow has given up so far, leading to its dead letters. */
export function deadLink(flow) {
  if (!flow.dead) return "0";
  return h("a", { href: href("dead", { flow: flow.name }) }, format.count(flow.dead));
}

/** A time to the millisecond, or a dash. */
export const moment = (iso) => (iso ? time(iso, format.clockMs) : h("span", { class: "dim" }, "–"));

/** The time, with the day where it is not today, or a dash. */
export const dated = (iso) => (iso ? time(iso, format.brief) : h("span", { class: "dim" }, "–"));

/** A body as people read it: JSON set out in lines, anything else as it is. */
export function pretty(body) {
  if (body === null || body === undefined) return "";
  if (typeof body !== "string") return JSON.stringify(body, null, 2);
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

/** A body or an excerpt, in the type of a machine. */
export const code = (body, label) => h("pre", { class: "code", tabindex: "0", "aria-label": label }, pretty(body));

/** One fact: a word and what it is. */
export const fact = (word, ...value) => h("dl", {}, h("dt", {}, word), h("dd", {}, value));

/** An object as facts: nested ones with their path, times as times, figures with all their digits. */
export function facts(object, path = "") {
  return Object.entries(object ?? {}).flatMap(([key, value]) => {
    const word = `${path}${key.replaceAll("_", " ")}`;
    if (value === null || value === undefined) return fact(word, "–");
    if (typeof value === "number") return fact(word, format.exact(value));
    if (typeof value === "object" && !Array.isArray(value)) return facts(value, `${word}, `);
    if (Array.isArray(value)) return fact(word, value.map((one) => (typeof one === "object" ? JSON.stringify(one) : String(one))).join(", ") || "none");
    const written = String(value);
    if (/^\d{4}-\d\d-\d\dT\d\d:/.test(written) && !Number.isNaN(format.ms(written))) return fact(word, dated(written));
    return written.length > 60 ? h("dl", { class: "wide" }, h("dt", {}, word), h("dd", { class: "id" }, written)) : fact(word, written);
  });
}
