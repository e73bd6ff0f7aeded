// Numbers, times and sizes as people read them.

let zone = "UTC";
let clockOffset = 0;
const formats = new Map();

/** The plant's zone; an unknown name leaves UTC. */
export function setZone(name) {
  try {
    new Intl.DateTimeFormat("en-GB", { timeZone: name });
    if (name !== zone) formats.clear();
    zone = name;
  } catch {
    zone = "UTC";
  }
}

export const zoneName = () => zone;

/** Learns how far the browser's clock is from the server's, so that ages are the server's. */
export function setServerNow(iso) {
  clockOffset = ms(iso) - Date.now();
}

/** The server's time in milliseconds. */
export const now = () => Date.now() + clockOffset;

/** Milliseconds of an RFC 3339 time. */
export const ms = (iso) => Date.parse(iso.length > 24 ? `${iso.slice(0, 23)}Z` : iso);

function format(key, options) {
  let made = formats.get(key);
  if (!made) formats.set(key, (made = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options })));
  return made;
}

const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };

/** `14:03:07` in the plant's zone. */
export const clock = (t) => format("clock", TIME).format(t);
/** `14:03:07.250` in the plant's zone. */
export const clockMs = (t) => format("ms", { ...TIME, fractionalSecondDigits: 3 }).format(t);
/** `14:03` in the plant's zone. */
export const clockShort = (t) => format("short", { hour: "2-digit", minute: "2-digit" }).format(t);
/** `31 Jan` in the plant's zone. */
export const day = (t) => format("day", { day: "numeric", month: "short" }).format(t);
/** `14:03:07` where it is today, else `31 Jan 14:03`. */
export const brief = (t) => (day(t) === day(now()) ? clock(t) : `${day(t)} ${clockShort(t)}`);
/** Date and time in the plant's zone. */
export const dateTime = (t) => format("date", { ...DAY, ...TIME }).format(t);
/** UTC with milliseconds, for tooltips. */
export const utc = (t) => `${new Date(t).toISOString().replace("T", " ").replace("Z", "")} UTC`;

/** How long: `0.3 s`, `12 s`, `4 min`, `3 h`, `5 d`. */
export function span(millis) {
  const seconds = Math.max(0, millis) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A duration in nanoseconds with three figures: `640 ns`, `12.4 µs`, `3.10 ms`. */
export function nanos(ns) {
  if (ns === null || ns === undefined) return "–";
  if (ns < 1000) return `${ns} ns`;
  if (ns < 1e6) return `${three(ns / 1e3)} µs`;
  if (ns < 1e9) return `${three(ns / 1e6)} ms`;
  return `${three(ns / 1e9)} s`;
}

const three = (v) => (v < 10 ? v.toFixed(2) : v < 100 ? v.toFixed(1) : v.toFixed(0));

/** A rate or count with a thousands mark: `412 345`, `12.3`. */
export function count(v) {
  if (!Number.isFinite(v)) return "–";
  const text = Math.abs(v) < 100 && !Number.isInteger(v) ? v.toFixed(1) : Math.round(v).toString();
  return text.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A figure with all its digits, as a control total wants it: `8 211.5`. */
export const exact = (v) => group(String(v));

/** A size: `3.1 GiB`. */
export function bytes(v) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (v >= 1024 && at < units.length - 1) [v, at] = [v / 1024, at + 1];
  return `${at === 0 ? v : three(v)} ${units[at]}`;
}

const decimalsOf = new Map();

/** A fixed number of decimals for each tag: from its range, else from the first value seen. */
export function decimals(row) {
  let known = decimalsOf.get(row.tag);
  if (known !== undefined) return known;
  const size = row.range ? row.range[1] - row.range[0] : Math.abs(Number(row.value)) || 1;
  known = row.kind === "i64" ? 0 : size >= 10_000 ? 0 : size >= 100 ? 1 : size >= 5 ? 2 : 3;
  if (decimalsOf.size > 50_000) decimalsOf.clear();
  if (row.range || row.kind) decimalsOf.set(row.tag, known);
  return known;
}

/** A value as text. */
export function value(row) {
  const v = row.value;
  if (v === null || v === undefined) return "–";
  if (typeof v === "boolean") return v ? "on" : "off";
  if (typeof v !== "number") return v;
  if (v !== 0 && (Math.abs(v) >= 1e12 || Math.abs(v) < 1e-4)) return v.toPrecision(6);
  return group(v.toFixed(decimals(row)));
}

/** Parts the whole digits in threes from five digits on. */
function group(text) {
  const [whole, rest] = text.split(".");
  const digits = whole.replace("-", "").length >= 5 ? whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f") : whole;
  return rest === undefined ? digits : `${digits}.${rest}`;
}

/** A CSV field that no spreadsheet takes for a formula. */
export function csv(v) {
  if (v === null || v === undefined) return "";
  if (typeof v === "number" || typeof v === "boolean") return String(v);
  const formula = /^[=+\-@\t\r\n]/.test(v);
  return formula || /["',;\r\n\t]/.test(v) ? `"${formula ? "'" : ""}${v.replaceAll('"', '""')}"` : v;
}

/** Gives the browser a file to save. */
export function download(name, lines) {
  const url = URL.createObjectURL(new Blob([lines.join("\r\n"), "\r\n"], { type: "text/csv" }));
  const link = document.createElement("a");
  [link.href, link.download] = [url, name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
