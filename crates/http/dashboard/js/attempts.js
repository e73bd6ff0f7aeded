// Deliveries with every attempt: what was sent, what came of it, what the other side answered.

import { h } from "./dom.js";
import * as format from "./format.js";
import { ago, code, deliveryState, messageLink, millis, moment, outcomeMark } from "./flowpieces.js";
import { Rows } from "./rows.js";

/** The attempts of a delivery or dead letter as a table. */
export function attemptsTable(attempts) {
  if (!attempts?.length) return h("p", { class: "dim" }, "Nothing was tried yet.");
  return h("table", { class: "attempts stack", "aria-label": "Attempts" },
    h("thead", {}, h("tr", {}, ["No.", "At", "Took", "Outcome", "Sent", "What came back"].map((word, at) => h("th", { class: at === 0 || at === 2 ? "num" : "" }, word)))),
    h("tbody", {}, attempts.map((one) => h("tr", {},
      h("td", { class: "num", "data-label": "No." }, String(one.number)),
      h("td", { class: "nowrap", "data-label": "At" }, moment(one.at)),
      h("td", { class: "num", "data-label": "Took" }, millis(one.took_ms)),
      h("td", { class: "nowrap", "data-label": "" }, outcomeMark(one.outcome), one.probe ? h("span", { class: "dim" }, " probe") : null),
      h("td", { class: "words", "data-label": "" }, one.sent ?? "–"),
      h("td", { class: "words", "data-label": "" }, answer(one))))));
}

function answer(one) {
  if (!one.answer && !one.error) return h("span", { class: "dim" }, "nothing");
  return [one.error ? h("span", {}, one.error) : null, one.answer ? code(one.answer, `Answer to attempt ${one.number}`) : null];
}

/** The newest deliveries, attempts unfolding. */
export function deliveryRows(empty, withFlow = false) {
  const columns = [
    { head: "State", label: "", sign: (one) => one.state, make: (one) => deliveryState(one.state) },
    ...(withFlow ? [{ head: "Flow", sign: (one) => one.flow, make: (one) => one.flow }] : []),
    { head: "Created", cls: "nowrap", sign: (one) => one.created, make: (one) => moment(one.created) },
    { head: "Key", cls: "clip", text: (one) => one.key ?? "–" },
    { head: "Message", cls: "clip", sign: (one) => one.message, make: (one) => messageLink(one.message) },
    { head: "Attempts", num: true, text: (one) => one.attempts?.length ?? 0 },
    { head: "Last answer", cls: "words", text: lastAnswer },
    { head: "Due or done", num: true, text: due },
  ];
  return new Rows({
    columns, empty, label: "Deliveries",
    detail: (one) => h("div", { class: "unfolded" }, h("p", { class: "dim" }, `Delivery ${one.id}, position ${one.offset} of ${one.stream ?? "its stream"}. Idempotency key ${one.idempotency_key ?? "none"}, the same on every try.`),
      attemptsTable(one.attempts)),
    detailSign: (one) => JSON.stringify(one.attempts),
  });
}

/** What the other side said last, in one line. */
export function lastAnswer(one) {
  const last = one.attempts?.at(-1);
  if (!last) return "";
  const words = last.error || last.answer || "";
  const start = last.outcome && last.outcome !== "delivered" && !words.startsWith(last.outcome) ? `${last.outcome} ` : "";
  return `${start}${words.length > 90 ? `${words.slice(0, 90)}…` : words}` || last.outcome || "under way";
}

/** When the next attempt is due, or when it was settled. */
function due(one) {
  if (!one.next_attempt) return one.updated && !["waiting", "in-flight"].includes(one.state) ? ago(one.updated) : "";
  const wait = format.ms(one.next_attempt) - format.now();
  return wait > 0 ? `in ${format.span(wait)}` : "due";
}
