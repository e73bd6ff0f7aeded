// What the page knows: one event stream for all of it, and the calls for the rest.

import * as format from "./format.js";

/** Latest row of each tag that was asked for. */
export const latest = new Map();
/** What the stream sends beside values; null until it came. */
export const state = { status: null, sources: null, cores: null, flows: null, alarms: null, link: "connecting", linkSince: Date.now() };
/** Rates of each source over the last minutes, newest last: name → numbers. */
export const rates = new Map();
/** Samples per second of each core over the last minutes: shard → numbers. */
export const coreRates = new Map();

const RATES_MAX = 180;
// The server takes a head of 64 KiB; rows beyond it are refreshed by the table alone.
const ADDRESS_MAX = 48_000;
const listeners = new Set();
let wanted = { tags: [], with: ["status", "sources", "cores", "flows", "alarms"] };
let stream = null;
let opening = null;
let openedFor = "";
let heard = 0;
let counted = new Map();

/** Calls back with the name of what changed: latest, status, sources, cores, flows, alarms, link. Answers how to stop. */
export function listen(callback) {
  listeners.add(callback);
  return () => listeners.delete(callback);
}

function tell(what, detail) {
  for (const callback of listeners) callback(what, detail);
}

/** Says which tags the page shows now. The stream is opened anew where that changed. */
export function watch(tags) {
  wanted.tags = [...new Set(tags)].sort();
  schedule(120);
}

function schedule(delay) {
  clearTimeout(opening);
  opening = setTimeout(open, delay);
}

function address() {
  const query = new URLSearchParams();
  let room = ADDRESS_MAX;
  for (const tag of wanted.tags) {
    room -= encodeURIComponent(tag).length + 5;
    if (room > 0) query.append("tag", tag);
  }
  query.set("with", [...wanted.with, ...(wanted.tags.length ? ["seen"] : [])].join(","));
  return `/v1/stream?${query}`;
}

function open() {
  if (document.hidden) return;
  const url = address();
  if (stream && stream.readyState !== EventSource.CLOSED && url === openedFor) return;
  stream?.close();
  openedFor = url;
  stream = new EventSource(url);
  stream.addEventListener("open", () => link("live"));
  stream.addEventListener("error", () => {
    link("lost");
    if (stream.readyState === EventSource.CLOSED) schedule(3000);
  });
  for (const [name, take] of Object.entries(takers)) {
    stream.addEventListener(name, (event) => {
      heard = Date.now();
      if (state.link !== "live") link("live");
      take(JSON.parse(event.data), Number(event.lastEventId) / 1e6);
    });
  }
}

function link(word) {
  if (state.link === word) return;
  [state.link, state.linkSince] = [word, Date.now()];
  tell("link");
}

const takers = {
  latest(rows) {
    for (const row of rows) merge(row);
    tell("latest", rows);
  },
  seen(pairs) {
    const rows = [];
    for (const [tag, seen] of pairs) {
      const row = latest.get(tag);
      if (row) rows.push(Object.assign(row, { seen }));
    }
    tell("latest", rows);
  },
  status(status) {
    format.setServerNow(status.now);
    format.setZone(status.time_zone);
    state.status = status;
    tell("status");
  },
  sources(sources, at) {
    for (const source of sources) {
      const total = source.counters.samples;
      const before = counted.get(source.name);
      if (total !== undefined && before && at > before.at) {
        source.rate = Math.max(0, ((total - before.total) * 1000) / (at - before.at));
        remember(rates, source.name, source.rate);
      }
      if (total !== undefined) counted.set(source.name, { total, at });
    }
    state.sources = sources;
    tell("sources");
  },
  cores(cores) {
    for (const core of cores) remember(coreRates, core.shard, core.samples_per_second);
    state.cores = cores;
    tell("cores");
  },
  flows(flows) {
    state.flows = flows;
    tell("flows");
  },
  alarms({ states, priorities, list }) {
    state.alarms = { states, priorities, list };
    tell("alarms");
  },
};

function remember(map, key, value) {
  const values = map.get(key) ?? [];
  values.push(value);
  if (values.length > RATES_MAX) values.shift();
  map.set(key, values);
}

/** Takes a row in, keeping what a stream's row leaves out (range, kind, source). */
export function merge(row) {
  const known = latest.get(row.tag);
  if (known) return Object.assign(known, row);
  if (latest.size > 5_000) latest.clear();
  latest.set(row.tag, row);
  return row;
}

/** A refusal or failure of a call, in words. */
export class CallError extends Error {}

/** Asks for JSON; answers the body and the headers. */
export async function get(path, query, signal) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") params.append(key, one);
    }
  }
  const text = params.toString();
  return call(text ? `${path}?${text}` : path, { signal }, "The page tries again by itself.");
}

/** Sends JSON; answers the body of the answer, null where there is none. */
export async function post(path, body) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) };
  return (await call(path, options, "It is not known whether it was done: look before you try again.")).body;
}

async function call(address, options, advice) {
  let answer;
  try {
    answer = await fetch(address, { ...options, headers: { accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new CallError(`Millstream does not answer. ${advice}`);
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new CallError(body?.title ? sentence(body) : `The server answered ${answer.status}.`);
  return { body, headers: answer.headers };
}

/** A problem's title and detail (RFC 9457) as a sentence. */
function sentence({ title, detail }) {
  return detail ? `${title}: ${detail.replace(/\.$/, "")}.` : `${title}.`;
}

/** Opens the stream, closes it while the page is hidden, and notices when it falls silent. */
export function start() {
  open();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(opening);
      stream?.close();
      stream = null;
      counted = new Map();
      link("resting");
    } else {
      schedule(0);
    }
  });
  setInterval(() => {
    if (stream && state.link === "live" && Date.now() - heard > 20_000) {
      stream.close();
      link("lost");
      schedule(0);
    }
  }, 5_000);
}
