// One message: from its arrival through every step to each delivery with its attempts, on one line of time.

import { h, put } from "../dom.js";
import * as format from "../format.js";
import { attemptsTable } from "../attempts.js";
import { code, dated, deliveryState, fact, flowHref, moment } from "../flowpieces.js";
import { crumbs } from "../pieces.js";
import { go, href } from "../route.js";
import * as store from "../store.js";

const REFRESH_MS = 2000;
const SETTLED = ["delivered", "dead", "expired", "superseded", "skipped"];

export function traceView(view, query) {
  const id = query.get("id") ?? "";
  const body = h("div", { class: "stacked" });
  const search = h("input", { type: "search", placeholder: "Message id", "aria-label": "Message id", size: "44", onkeydown: (event) => {
    if (event.key === "Enter" && search.value.trim()) go("trace", { id: search.value.trim() });
  } });
  search.value = id;
  put(view, crumbs(["Trace", "#/trace"], ...(id ? [[id]] : [])), h("div", { class: "head" }, h("h1", {}, "Message trace"), search,
    h("button", { type: "button", onclick: () => search.value.trim() && go("trace", { id: search.value.trim() }) }, "Follow")), body);
  if (!id) {
    put(body, h("section", { class: "panel" }, h("p", { class: "empty top" }, "Enter the id of a message: of an event, a record, a request or a batch run. Ids stand in every list of deliveries, events and dead letters, and in the answer to whoever sent the message.")));
    search.focus();
    return undefined;
  }
  let sign = "";
  let settled = false;

  async function look() {
    if (document.hidden || settled) return;
    try {
      const { body: trace } = await store.get(`/v1/trace/${encodeURIComponent(id)}`);
      settled = trace.deliveries.length > 0 && trace.deliveries.every((one) => SETTLED.includes(one.state));
      const now = JSON.stringify(trace);
      if (now !== sign) put(body, whole(trace));
      sign = now;
    } catch (error) {
      sign = "";
      put(body, h("p", { class: "error" }, error.message));
    }
  }
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => clearInterval(timer);
}

function whole({ message, steps, deliveries }) {
  const start = message.time ? format.ms(message.time) : null;
  const after = (iso) => (start !== null && iso ? gapWords(format.ms(iso) - start) : "");
  const done = deliveries.filter((one) => one.state === "delivered").length;
  return [
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, message.id), h("span", { class: "dim" }, deliveries.length ? `${done} of ${deliveries.length} delivered` : "no flow wants it")),
      h("div", { class: "body facts" }, fact("Kind", message.kind), fact("Arrived", dated(message.time)), fact("Key", message.key ?? "–"),
        fact("Source", message.source ?? "–"), fact("Position", `${message.offset} of ${message.stream ?? "its stream"}`))),
    h("ol", { class: "timeline" },
      node("arrived", message.time, "", "Arrived", h("details", {}, h("summary", {}, "Its body"), code(message.body, "Body of the message"))),
      steps.map((step) => node("", step.time, after(step.time), step.what, step.detail ? h("p", {}, typeof step.detail === "string" ? step.detail : JSON.stringify(step.detail)) : null)),
      [...deliveries].sort((a, b) => a.created.localeCompare(b.created)).map((one) => deliveryNode(one, after))),
  ];
}

function node(cls, time, after, what, ...more) {
  return h("li", { class: cls }, h("div", { class: "when" }, moment(time), h("span", { class: "dim" }, after)), h("div", { class: "what" }, h("b", {}, what), more));
}

function deliveryNode(one, after) {
  const flow = store.state.flows?.find((other) => other.name === one.flow) ?? { name: one.flow, pattern: "" };
  const bad = ["dead", "expired", "in-doubt", "retrying"].includes(one.state);
  return h("li", { class: `delivery ${bad ? "bad" : ""}` },
    h("div", { class: "when" }, moment(one.created), h("span", { class: "dim" }, after(one.created))),
    h("div", { class: "what panel" },
      h("header", {}, h("h2", {}, h("a", { href: flowHref(flow) }, one.flow)), deliveryState(one.state),
        h("span", { class: "dim" }, SETTLED.includes(one.state) ? after(one.updated) : one.next_attempt ? ["next attempt ", moment(one.next_attempt)] : ""),
        one.state === "dead" || one.state === "expired" ? h("a", { href: href("letter", { id: one.id }) }, "Open the dead letter") : null),
      h("div", { class: "body" }, h("p", { class: "dim" }, `Idempotency key ${one.idempotency_key ?? "none"}`), attemptsTable(one.attempts))));
}

/** `+12 ms`, `+3.4 s`, `+4 min`. */
function gapWords(millis) {
  if (millis < 0) return "";
  return millis < 1000 ? `+${Math.round(millis)} ms` : `+${format.span(millis)}`;
}
