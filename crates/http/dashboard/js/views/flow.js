// One flow: what it is, how it does, its newest deliveries, and who stopped it.

import { colour, h, pen, put, text } from "../dom.js";
import * as format from "../format.js";
import { act } from "../ask.js";
import { deliveryRows } from "../attempts.js";
import { Facts, steady } from "../facts.js";
import { auditRows } from "./audit.js";
import { ago, backlog, breakerState, dated, deadLink, facts, flowState, laneName, millis, moment, old, rate } from "../flowpieces.js";
import { choice, crumbs } from "../pieces.js";
import { note } from "../route.js";
import { sparkRate } from "../spark.js";
import * as store from "../store.js";

const REFRESH_MS = 2000;
const NEWEST = 50;
const AUDIT_MAX = 1000;
const STATES = ["waiting", "in-flight", "retrying", "in-doubt", "delivered", "dead", "expired", "superseded", "skipped"];

export function flowView(view, query) {
  const name = query.get("name") ?? "";
  const filter = { state: query.get("state") ?? "" };
  const head = h("div", { class: "head" });
  const [state, reason, figures] = [h("header"), h("p", { class: "reason" }), new Facts(FIGURES)];
  const now = h("section", { class: "panel" }, state, reason, figures.element);
  const failure = h("p", { class: "error hidden" });
  const latency = h("section", { class: "panel" });
  const definition = h("section", { class: "panel" });
  const rows = deliveryRows("Nothing was delivered yet.");
  const changes = auditRows();
  const whatIs = h("div", { class: "stacked hidden" }, now,
    h("div", { class: "lanes" }, latency, definition),
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Newest deliveries"), h("span", { class: "dim" }, `at most ${NEWEST}; a row unfolds its attempts`), h("span", { class: "spread" }),
      choice("State", filter.state, [["", "Any state"], ...STATES.map((one) => [one, one])], (state) => {
        filter.state = state;
        note("flow", { name, ...filter });
        look();
      })), rows.element),
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Who changed what"), h("span", { class: "dim" }, "of this flow")), changes.element));
  put(view, crumbs(["Flows", "#/flows"], [name]), head, failure, whatIs);

  let whole = null;
  const known = () => store.state.flows?.find((one) => one.name === name && one.pattern !== "telemetry") ?? whole;

  function draw() {
    const flow = known();
    if (!flow) return;
    whatIs.classList.remove("hidden");
    steady(head, `${flow.state === "paused"}${flow.target}`, () => [h("h1", {}, name),
      h("span", { class: "dim" }, `${laneName(flow.pattern)}${flow.target ? ` to ${flow.target}` : ""}`), h("span", { class: "spread" }), switchOf(flow.state === "paused", known)]);
    steady(state, `${flow.state}${flow.since}${old(flow.since)}`, () => [flowState(flow), h("span", { class: "dim" }, "since ", dated(flow.since), flow.since ? ` (${old(flow.since)})` : "")]);
    text(reason, [flow.reason, flow.paused_by ? `Paused by ${flow.paused_by}` : ""].filter(Boolean).map((words) => `${words.replace(/\.$/, "")}.`).join(" "));
    reason.classList.toggle("hidden", !reason.textContent);
    figures.show(flow);
  }

  async function look() {
    if (document.hidden) return;
    try {
      const [flow, deliveries, audit] = await Promise.all([
        store.get(`/v1/flows/${encodeURIComponent(name)}`), store.get("/v1/deliveries", { flow: name, state: filter.state, limit: NEWEST }), store.get("/v1/audit", { limit: AUDIT_MAX })]);
      whole = flow.body;
      rows.show(deliveries.body, filter.state ? `No delivery is ${filter.state} now.` : "Nothing was delivered yet.");
      changes.show(audit.body.filter((one) => (one.flow ?? one.target) === name), "Nobody changed anything here.");
      steady(latency, JSON.stringify(whole.latency), () => histogram(whole));
      if (!definition.firstChild) put(definition, h("header", {}, h("h2", {}, "Definition"), h("span", { class: "dim" }, "as configured")), h("div", { class: "body facts" }, facts(whole.definition)));
      failure.classList.add("hidden");
      draw();
    } catch (error) {
      failure.classList.remove("hidden");
      text(failure, error.message);
    }
  }

  const stop = store.listen((what) => what === "flows" && draw());
  draw();
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => {
    stop();
    clearInterval(timer);
  };
}

const number = (head, key) => ({ head, text: (flow) => format.count(flow[key] ?? 0) });

const FIGURES = [
  { head: "Messages in a second", text: (flow) => rate(flow.rate), draw: (canvas, flow) => sparkRate(canvas, flow.spark ?? [], Math.max(2, flow.spark?.length ?? 2)) },
  { head: "Backlog", text: backlog },
  number("In flight", "in_flight"), number("Waiting to be tried again", "retrying"), number("In doubt", "in_doubt"),
  { head: "p50, p99, longest", text: (flow) => [flow.p50_ms, flow.p99_ms, flow.max_ms].map(millis).join(", ") },
  { head: "Circuit breaker", sign: (flow) => flow.breaker, make: (flow) => breakerState(flow.breaker) },
  number("Delivered", "delivered"), number("Attempts that failed", "attempts_failed"),
  { head: "Given up (dead letters)", sign: (flow) => flow.dead, make: deadLink },
  number("Expired", "expired"), number("Superseded", "superseded"),
  { head: "Last success", text: (flow) => ago(flow.last_success) || "none yet" },
  { head: "Last error", wide: true, sign: (flow) => `${flow.last_error?.time}${ago(flow.last_error?.time)}`, make: (flow) => lastError(flow) },
];

function lastError({ last_error: last }) {
  return last ? [moment(last.time), ` (${ago(last.time)}): ${last.text}`] : "none";
}

/** The button that pauses or resumes. What it says of the backlog is what it is when it is pressed. */
function switchOf(paused, known) {
  const press = () => {
    const flow = known();
    const { name, pattern } = flow;
    const wait = flow.backlog ? `${format.count(flow.backlog)} wait now.` : "Nothing waits now.";
    const request = pattern === "request";
    const pause = request
      ? ["Callers get a clear refusal that names the pause, at once, until somebody resumes it.", "The other flows go on."]
      : [`Nothing more is sent to ${flow.target ?? "its target"} until somebody resumes it. What is under way ends.`,
        `Messages go on arriving and wait in the backlog; none is lost. ${wait} The other flows go on.`];
    const resume = request ? "Callers are answered again." : `What waits goes out in order, beside what is new. ${wait}`;
    const [verb, did] = paused ? ["resume", "resumed"] : ["pause", "paused"];
    const question = { title: `${paused ? "Resume" : "Pause"} ${name}?`, words: paused ? resume : pause, action: paused ? "Resume" : "Pause", comment: "Why (others see it)" };
    act(question, (given) => store.post(`/v1/flows/${encodeURIComponent(name)}/${verb}`, given), ({ by }) => `${by} ${did} ${name}.`);
  };
  return h("button", { type: "button", onclick: press }, paused ? "Resume" : "Pause");
}

/** How many deliveries took how long: a bar for each bucket, its height the logarithm of the count. */
function histogram(flow) {
  const buckets = flow.latency ?? [];
  const all = buckets.reduce((sum, one) => sum + one.count, 0);
  const header = h("header", {}, h("h2", {}, "Latency"), h("span", { class: "dim" }, `${format.count(all)} deliveries, from publishing to the answer`));
  if (!all) return [header, h("p", { class: "empty" }, "Nothing was delivered yet.")];
  const shown = buckets.map((one) => ({ ...one, word: one.le_ms === null ? "longer" : `≤ ${millis(one.le_ms).replace(/\.0+(?= )/, "")}` }));
  const canvas = h("canvas", { class: "histogram", role: "img", "aria-label": shown.map((one) => `${one.word}: ${one.count}`).join(", "), title: shown.map((one) => `${one.word}: ${format.count(one.count)}`).join("\n") });
  requestAnimationFrame(() => drawBars(canvas, shown));
  return [header, h("div", { class: "body" }, canvas, h("p", { class: "dim" }, "Heights are logarithmic; the number above a bar is how many."))];
}

function drawBars(canvas, buckets) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const context = pen(canvas, width, height);
  if (!context) return;
  const most = Math.log1p(Math.max(...buckets.map((one) => one.count)));
  const wide = width / buckets.length;
  const floor = height - 18;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillStyle = colour("line");
  context.fillRect(0, floor, width, 1);
  const every = Math.ceil(52 / wide);
  buckets.forEach((one, at) => {
    const tall = (Math.log1p(one.count) / most) * (floor - 18);
    context.fillStyle = colour("bar");
    context.fillRect(at * wide + 2, floor - tall, wide - 4, tall);
    context.fillStyle = colour("dim");
    if (one.count && wide >= 34) context.fillText(format.count(one.count), (at + 0.5) * wide, floor - tall - 5);
    if (at % every === 0) context.fillText(one.word.replace("≤ ", ""), (at + 0.5) * wide, height - 4);
  });
}
