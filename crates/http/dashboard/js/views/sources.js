// Sources: their states with reasons, and what they count.

import { h, put } from "../dom.js";
import * as format from "../format.js";
import { crumbs, mark, sourceLevel, time } from "../pieces.js";
import { href } from "../route.js";
import { sparkRate } from "../spark.js";
import * as store from "../store.js";

export function sourcesView(view, query) {
  const name = query.get("name");
  const body = h("div");
  put(view, name ? crumbs(["Sources", "#/sources"], [name]) : crumbs(["Sources"]), h("h1", {}, name ?? "Sources"), body);
  const draw = () => store.state.sources && put(body, name ? one(name) : all(store.state.sources));
  const stop = store.listen((what) => what === "sources" && draw());
  if (store.state.sources) draw();
  else put(body, h("p", { class: "dim" }, "Waiting for the server."));
  return stop;
}

function all(sources) {
  if (!sources.length) return h("p", { class: "empty" }, "No source is configured. Add a [[source]] to the configuration.");
  const head = [["State"], ["Source"], ["Kind"], ["Address"], ["Core", true], ["Tags", true], ["Samples/s", true], ["Since", true], ["Last data", true], ["What is wrong"]];
  return h("section", { class: "panel scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map(([word, num]) => h("th", { class: num ? "num" : "" }, word)))),
    h("tbody", {}, sources.map((source) => h("tr", { class: "open", onclick: () => (location.hash = href("sources", { name: source.name })) },
      h("td", {}, mark(sourceLevel(source.state), source.state)),
      h("td", { class: "nowrap" }, h("a", { href: href("sources", { name: source.name }) }, source.name)),
      h("td", {}, source.kind), h("td", { class: "dim nowrap" }, source.address || "comes to us"),
      h("td", { class: "num" }, String(source.shard)), h("td", { class: "num" }, format.count(source.tags)),
      h("td", { class: "num" }, rate(source)), h("td", { class: "num" }, since(source)), h("td", { class: "num" }, last(source)),
      h("td", { class: "words" }, source.reason))))));
}

const rate = (source) => (source.rate === undefined ? "–" : format.count(Math.round(source.rate * 10) / 10));
const since = (source) => format.span(format.now() - format.ms(source.since));
const last = (source) => (source.last_data ? `${format.span(format.now() - format.ms(source.last_data))} ago` : "none yet");

function one(name) {
  const source = store.state.sources.find((other) => other.name === name);
  if (!source) return h("p", { class: "error" }, `There is no source ${name}. `, h("a", { href: "#/sources" }, "All sources"));
  const fact = (word, ...value) => h("dl", {}, h("dt", {}, word), h("dd", {}, value));
  const spark = h("canvas", { class: "spark" });
  requestAnimationFrame(() => sparkRate(spark, store.rates.get(name) ?? []));
  const counters = Object.entries(source.counters);
  return h("section", { class: "panel" },
    h("header", {}, mark(sourceLevel(source.state), source.state), h("span", { class: "dim" }, "since ", time(source.since, format.dateTime), ` (${since(source)})`)),
    source.reason ? h("p", { class: "empty" }, source.reason) : null,
    h("div", { class: "body facts" }, fact("Kind", source.kind), fact("Address", source.address || "comes to us"), fact("Core", String(source.shard)),
      fact("Tags", h("a", { href: href("tags", { match: `${source.path}/**` }) }, `${format.count(source.tags)} below ${source.path}`)),
      fact("Last data", last(source)), fact("Samples in a second", rate(source), spark)),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Counter"), h("th", { class: "num" }, "Since the start"))),
      h("tbody", {}, counters.map(([word, n]) => h("tr", {}, h("td", {}, word.replaceAll("_", " ")), h("td", { class: "num" }, format.count(n))))))));
}
