// The alarms: by priority, what nobody has seen first, then the newest. Acknowledge, shelve and the rest, for one or several.

import { h, put, text } from "../dom.js";
import * as format from "../format.js";
import { ACTIONS, actionBar, alarmMark, alarmState, byPriority, perform, unacknowledged } from "../alarmpieces.js";
import { dated, old } from "../flowpieces.js";
import { choice, crumbs, tagLink } from "../pieces.js";
import { go, href, note } from "../route.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";

const REFRESH_MS = 5000;
const LIMIT = 500;
const WANTED = "unacknowledged,acknowledged,cleared-unacknowledged";
const STATES = [["", "Active or unacknowledged"], ["unacknowledged", "Unacknowledged"], ["acknowledged", "Acknowledged"], ["cleared-unacknowledged", "Cleared, unacknowledged"],
  ["shelved", "Shelved"], ["suppressed", "Suppressed"], ["out-of-service", "Out of service"], ["normal", "Normal"]];

export function alarmsView(view, query) {
  const filter = { state: query.get("state") ?? "", match: query.get("match") ?? "" };
  const chosen = new Set();
  const [count, failure] = [h("span", { class: "dim", "aria-live": "polite" }), h("p", { class: "error hidden" })];
  let shown = [];
  const targets = () => shown.filter((one) => (chosen.size ? chosen.has(one.id) : one.id === rows.cursor));
  const bar = actionBar(targets, () => look());
  const rows = new Rows({
    columns: columns(chosen, (alarm, on) => pick(alarm, on)), label: "Alarms", showsCursor: true, cls: "alarms",
    enter: (alarm) => go("alarm", { id: alarm.id }), mark: (alarm) => pick(alarm, !chosen.has(alarm.id)), moved: () => bar.update(),
    level: (alarm) => (unacknowledged(alarm) ? "" : "calm"),
  });

  function pick(alarm, on) {
    if (on) chosen.add(alarm.id);
    else chosen.delete(alarm.id);
    show(shown);
  }

  function changed(more) {
    Object.assign(filter, more);
    note("alarms", filter);
    chosen.clear();
    look();
  }

  function show(alarms) {
    shown = [...alarms].sort(byPriority);
    for (const id of chosen) if (!shown.some((one) => one.id === id)) chosen.delete(id);
    rows.show(shown, nothing(filter));
    text(count, words(shown, chosen));
    bar.update();
  }

  let asked = 0;
  async function look() {
    if (document.hidden) return;
    const turn = (asked += 1);
    try {
      // Words stand for any tag with such a segment in its path; a glob is taken as it is.
      const match = filter.match && !filter.match.includes("*") ? `**/*${filter.match.replace(/^\/|\/$/g, "")}*/**` : filter.match;
      const { body } = await store.get("/v1/alarms", { state: filter.state || WANTED, match, limit: LIMIT });
      if (turn !== asked) return;
      show(body);
      failure.classList.add("hidden");
    } catch (error) {
      failure.classList.remove("hidden");
      text(failure, error.message);
    }
  }

  let typing = 0;
  const search = h("input", { type: "search", placeholder: "Part of a tag, or a glob", "aria-label": "Search alarms by tag", oninput: () => {
    clearTimeout(typing);
    typing = setTimeout(() => changed({ match: search.value.trim() }), 200);
  } });
  search.value = filter.match;
  const key = ({ detail }) => {
    if (detail.key !== "a") return;
    detail.preventDefault();
    perform(ACTIONS[0], targets()).then(look);
  };
  document.addEventListener("view-key", key);
  put(view, crumbs(["Alarms"]), h("div", { class: "head" }, h("h1", {}, "Alarms"), search, choice("State", filter.state, STATES, (state) => changed({ state })), count),
    failure, h("section", { class: "panel" }, h("div", { class: "body top" }, bar.element), rows.element));
  look();
  // The stream tells that something changed; what is listed is asked for then, and now and then anyway.
  let told = JSON.stringify(store.state.alarms);
  const stop = store.listen((what) => {
    if (what !== "alarms") return;
    const now = JSON.stringify(store.state.alarms);
    if (now !== told) look();
    else show(shown);
    told = now;
  });
  const timer = setInterval(look, REFRESH_MS);
  return () => {
    stop();
    clearInterval(timer);
    clearTimeout(typing);
    document.removeEventListener("view-key", key);
  };
}

function columns(chosen, pick) {
  return [
    { head: "", cls: "c-box", sign: (one) => chosen.has(one.id), make: (one) => {
      const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Choose ${one.rule} ${one.tag ?? ""}`, onchange: () => pick(one, box.checked) });
      box.checked = chosen.has(one.id);
      return box;
    } },
    { head: "Priority", label: "", sign: (one) => `${one.priority}${one.state}${one.active}`, make: alarmMark },
    { head: "State", label: "", cls: "nowrap", sign: (one) => `${one.state}${one.shelved?.until}`, make: alarmState },
    { head: "Since", cls: "nowrap", sign: (one) => one.since, make: (one) => dated(one.since) },
    { head: "For", num: true, cls: "c-for", text: (one) => old(one.since) },
    { head: "What", cls: "words", sign: (one) => one.message, make: (one) => h("a", { href: href("alarm", { id: one.id }) }, one.message || one.rule) },
    { head: "Tag", cls: "c-tag", sign: (one) => one.tag, make: (one) => (one.tag ? tagLink(one.tag) : h("span", { class: "dim" }, one.rule)) },
    { head: "Value", num: true, text: (one) => valueWords(one.value) },
    { head: "Times", num: true, cls: "c-for", text: (one) => format.count(one.count ?? 0) },
    { head: "By", cls: "nowrap", text: (one) => one.by ?? one.shelved?.by ?? "" },
  ];
}

export const valueWords = (value) => (value === null || value === undefined ? "–" : typeof value === "boolean" ? (value ? "on" : "off")
  : typeof value === "number" ? String(Math.round(value * 1000) / 1000) : typeof value === "object" ? JSON.stringify(value) : String(value));

function words(shown, chosen) {
  if (chosen.size) return `${chosen.size} chosen of ${shown.length}`;
  const all = shown.filter(unacknowledged).length;
  const more = shown.length >= LIMIT ? `, the first ${LIMIT}: search by tag to see others` : "";
  return `${format.count(shown.length)}${all ? `, ${format.count(all)} unacknowledged` : ""}${more}`;
}

function nothing({ state, match }) {
  if (match) return "No alarm fits the filter.";
  if (!state) return "No alarm is active, and none waits to be acknowledged.";
  return `No alarm is ${state.replaceAll("-", " ")}.`;
}
