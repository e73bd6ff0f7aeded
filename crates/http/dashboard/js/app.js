// The page: navigation, link state, clock, theme, and which view is shown.

import { priorityShape, waiting } from "./alarmpieces.js";
import { h, put, text } from "./dom.js";
import { steady } from "./facts.js";
import * as format from "./format.js";
import * as keys from "./keys.js";
import * as operator from "./operator.js";
import { mark } from "./pieces.js";
import { read } from "./route.js";
import * as store from "./store.js";
import { alarmView } from "./views/alarm.js";
import { alarmsView } from "./views/alarms.js";
import { auditView } from "./views/audit.js";
import { batchesView } from "./views/batches.js";
import { coresView } from "./views/cores.js";
import { deadView } from "./views/dead.js";
import { flowView } from "./views/flow.js";
import { flowsView } from "./views/flows.js";
import { letterView } from "./views/letter.js";
import { overviewView } from "./views/overview.js";
import { sourcesView } from "./views/sources.js";
import { tagsView } from "./views/tags.js";
import { traceView } from "./views/trace.js";
import { tagView, trendView } from "./views/trend.js";

// A view takes its element and query and answers how to close it. `nav` puts it in the bar.
const VIEWS = {
  overview: { title: "Overview", nav: true, open: overviewView },
  flows: { title: "Flows", nav: true, open: flowsView },
  flow: { title: "Flow", under: "flows", open: flowView },
  alarms: { title: "Alarms", nav: true, open: alarmsView },
  alarm: { title: "Alarm", under: "alarms", open: alarmView },
  dead: { title: "Dead letters", nav: true, open: deadView },
  letter: { title: "Dead letter", under: "dead", open: letterView },
  batches: { title: "Batches", nav: true, open: batchesView },
  trace: { title: "Trace", nav: true, open: traceView },
  audit: { title: "Who changed what", under: "flows", open: auditView },
  tags: { title: "Tags", nav: true, open: tagsView },
  trend: { title: "Trend", nav: true, open: trendView },
  tag: { title: "Tag", under: "tags", open: tagView },
  sources: { title: "Sources", nav: true, open: sourcesView },
  cores: { title: "Cores", nav: true, open: coresView },
};

const view = document.getElementById("view");
let close = () => {};
let shown = null;

function show() {
  const { name, query } = read();
  const address = location.hash;
  if (address === shown) return;
  shown = address;
  const known = VIEWS[name] ?? VIEWS.overview;
  close();
  store.watch([]);
  put(view);
  document.title = `${known.title} · Millstream`;
  for (const link of document.querySelectorAll("#nav a")) {
    const current = link.dataset.view === (known.under ?? name);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  close = known.open(view, query) ?? (() => {});
}

/** A view that changed its own address tells so here, and is not opened again. */
document.addEventListener("address-noted", () => (shown = location.hash));

function drawLink() {
  const box = document.getElementById("link");
  const { link, linkSince } = store.state;
  if (link === "lost" && Date.now() - linkSince > 1500) put(box, mark("critical", "No connection; trying again"));
  else if (link === "live") put(box);
  else if (link === "connecting") put(box, mark("low", "Connecting"));
}

/** On every view: how many alarms wait for somebody, and how bad the worst of them is. */
function drawBell() {
  const bell = document.getElementById("bell");
  const { count, priority } = waiting(store.state.alarms);
  bell.classList.toggle("hidden", !count);
  const words = `${format.count(count)} unacknowledged alarm${count === 1 ? "" : "s"}, the worst ${priority}`;
  if (count) steady(bell, words, () => [priorityShape(priority, { blink: true }), h("b", {}, format.count(count))]);
  bell.title = words;
  bell.setAttribute("aria-label", words);
}

function tick() {
  const clock = document.getElementById("clock");
  if (!clock.firstChild) put(clock, h("span"), h("span", { class: "zone" }));
  text(clock.firstChild, format.clock(format.now()));
  text(clock.lastChild, format.zoneName());
  clock.title = format.utc(format.now());
  drawLink();
}

function theme() {
  const order = ["", "light", "dark"];
  const set = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    document.getElementById("theme").textContent = { "": "Auto", light: "Light", dark: "Dark" }[name];
  };
  let now = localStorage.getItem("theme") ?? "";
  set(now);
  document.getElementById("theme").addEventListener("click", () => {
    now = order[(order.indexOf(now) + 1) % order.length];
    localStorage.setItem("theme", now);
    set(now);
    window.dispatchEvent(new Event("resize"));
    shown = null;
    show();
  });
}

put(document.getElementById("nav"), Object.entries(VIEWS).filter(([, one]) => one.nav)
  .map(([name, one]) => h("a", { href: `#/${name}`, "data-view": name }, one.title)));
theme();
keys.listen();
operator.start();
store.listen((what) => {
  if (what === "link") drawLink();
  if (what === "alarms") drawBell();
});
store.start();
window.addEventListener("hashchange", show);
setInterval(tick, 1000);
tick();
show();
