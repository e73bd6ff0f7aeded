// One alarm: what it is now, what can be done, and its journal.

import { h, put, text } from "../dom.js";
import { ACTIONS, actionBar, alarmMark, alarmState, perform } from "../alarmpieces.js";
import { Facts, steady } from "../facts.js";
import { dated, old } from "../flowpieces.js";
import { crumbs, tagLink } from "../pieces.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";
import { valueWords } from "./alarms.js";

const REFRESH_MS = 2000;
const JOURNAL_MAX = 500;

const FACTS = [
  { head: "Tag", wide: true, sign: (one) => one.tag, make: (one) => (one.tag ? tagLink(one.tag) : "–") },
  { head: "Rule", text: (one) => one.rule },
  { head: "Event", text: (one) => one.event ?? "–" },
  { head: "Severity, 1 to 1000", text: (one) => one.severity ?? "–" },
  { head: "Value when it came", text: (one) => valueWords(one.value) },
  { head: "Active", text: (one) => (one.active ? `yes, for ${old(one.since)}` : "no") },
  { head: "Cleared", sign: (one) => one.cleared, make: (one) => dated(one.cleared) },
  { head: "Times it came", text: (one) => one.count ?? 0 },
  { head: "Acknowledged", text: (one) => (one.acknowledged ? "yes" : "no") },
  { head: "Confirmed", text: (one) => (one.confirmed ? "nothing to confirm" : "no: say that it was dealt with") },
  { head: "Latched", text: (one) => (one.latched ? "yes: it wants a reset" : "no") },
  { head: "Last change", sign: (one) => one.last_change, make: (one) => dated(one.last_change) },
  { head: "By", text: (one) => one.by ?? "–" },
  { head: "Comment", wide: true, text: (one) => one.comment ?? "–" },
];

const JOURNAL = [
  { head: "When", cls: "nowrap", sign: (one) => one.time, make: (one) => dated(one.time) },
  { head: "What happened", cls: "words", text: (one) => one.what },
  { head: "State then", cls: "nowrap", text: (one) => one.state.replaceAll("-", " ") },
  { head: "Value", num: true, text: (one) => valueWords(one.value) },
  { head: "By", cls: "nowrap", text: (one) => one.by ?? "" },
  { head: "Words", cls: "words", text: (one) => one.comment ?? "" },
];

export function alarmView(view, query) {
  const id = query.get("id") ?? "";
  let alarm = store.state.alarms?.list.find((one) => one.id === id) ?? null;
  const [head, state, failure] = [h("h1"), h("header"), h("p", { class: "error hidden" })];
  const figures = new Facts(FACTS);
  const bar = actionBar(() => (alarm ? [alarm] : []), () => look());
  const panel = h("section", { class: "panel hidden" }, state, h("div", { class: "body" }, bar.element), figures.element);
  const rows = new Rows({ columns: JOURNAL, label: "Journal", key: (one) => `${one.offset} ${one.time} ${one.what}`, empty: "Nothing happened yet." });
  put(view, crumbs(["Alarms", "#/alarms"], [id]), head, failure, panel,
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Journal"), h("span", { class: "dim" }, "newest first")), rows.element));

  function draw() {
    if (!alarm) return text(head, id);
    text(head, alarm.message || `${alarm.rule} ${alarm.tag ?? ""}`);
    panel.classList.remove("hidden");
    steady(state, `${alarm.state}${alarm.priority}${alarm.active}${alarm.shelved?.until}`, () => [alarmMark(alarm), alarmState(alarm)]);
    figures.show(alarm);
    bar.update();
  }

  async function look() {
    if (document.hidden) return;
    try {
      const [alarms, journal] = await Promise.all([store.get("/v1/alarms", { match: alarm?.tag ?? id.slice(id.indexOf("/") + 1) }), store.get("/v1/alarms/journal", { id, limit: JOURNAL_MAX })]);
      alarm = alarms.body.find((one) => one.id === id) ?? alarm;
      rows.show(journal.body);
      failure.classList.toggle("hidden", Boolean(alarm));
      if (!alarm) text(failure, `There is no alarm ${id} now.`);
      draw();
    } catch (error) {
      failure.classList.remove("hidden");
      text(failure, error.message);
    }
  }

  const key = ({ detail }) => {
    if (detail.key !== "a" || !alarm) return;
    detail.preventDefault();
    perform(ACTIONS[0], [alarm]).then(look);
  };
  document.addEventListener("view-key", key);
  const stop = store.listen((what) => {
    if (what !== "alarms") return;
    alarm = store.state.alarms.list.find((one) => one.id === id) ?? alarm;
    draw();
  });
  draw();
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => {
    stop();
    clearInterval(timer);
    document.removeEventListener("view-key", key);
  };
}
