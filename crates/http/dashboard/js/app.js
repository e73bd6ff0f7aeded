// The page: navigation, link state, clock, theme, and which view is shown.

import { h, put, text } from "./dom.js";
import * as format from "./format.js";
import * as keys from "./keys.js";
import { read } from "./route.js";
import * as store from "./store.js";
import { mark } from "./pieces.js";
import { coresView } from "./views/cores.js";
import { overviewView } from "./views/overview.js";
import { sourcesView } from "./views/sources.js";
import { tagsView } from "./views/tags.js";
import { tagView, trendView } from "./views/trend.js";

// A view takes its element and query and answers how to close it. `nav` puts it in the bar.
const VIEWS = {
  overview: { title: "Overview", nav: true, open: overviewView },
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

function tick() {
  const clock = document.getElementById("clock");
  text(clock, `${format.clock(format.now())} ${format.zoneName()}`);
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
store.listen((what) => what === "link" && drawLink());
store.start();
window.addEventListener("hashchange", show);
setInterval(tick, 1000);
tick();
show();
