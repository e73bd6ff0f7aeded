// The keyboard: `/` search, `g` then a letter, `?` help. Arrows belong to the tables.

import { h, put } from "./dom.js";
import { go } from "./route.js";

const GO = { o: "overview", f: "flows", a: "alarms", d: "dead", b: "batches", m: "trace", t: "tags", r: "trend", s: "sources", c: "cores", u: "audit" };
const HELP = [
  ["/", "Search in this view, else tags"],
  ["g o", "Overview"], ["g f", "Flows"], ["g a", "Alarms"], ["g d", "Dead letters"], ["g b", "Batches"], ["g m", "Trace of a message"],
  ["g t", "Tags"], ["g r", "Trend"], ["g s", "Sources"], ["g c", "Cores"], ["g u", "Who changed what"],
  ["↑ ↓ PgUp PgDn", "Move in a table"], ["Enter", "Open, or unfold"], ["Space", "Choose a tag for the trend, or an alarm"],
  ["a", "Acknowledge the alarm, or those chosen"],
  ["f", "Freeze the trend, or follow again"], ["← →", "Move the trend's cursor"],
  ["Drag", "Zoom in on the trend"], ["Double-click, Backspace", "Zoom back"],
  ["?", "This help"],
];

let pending = 0;

/** Listens for the page's keys. */
export function listen() {
  const dialog = document.getElementById("keys");
  put(dialog, h("h2", {}, "Keyboard"),
    h("dl", { class: "keys" }, HELP.map(([key, does]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)))),
    h("form", { method: "dialog" }, h("button", {}, "Close")));
  document.getElementById("help").addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.getElementById("ask").open) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (Date.now() - pending < 1500 && GO[event.key]) {
      pending = 0;
      go(GO[event.key]);
    } else if (event.key === "g") pending = Date.now();
    else if (event.key === "/") search();
    else if (event.key === "?") dialog.open ? dialog.close() : dialog.showModal();
    else return document.dispatchEvent(new CustomEvent("view-key", { detail: event }));
    event.preventDefault();
  });
}

function search() {
  const here = document.querySelector("main input[type=search]");
  if (here) return here.select(), here.focus();
  go("tags", { focus: "search" });
}
