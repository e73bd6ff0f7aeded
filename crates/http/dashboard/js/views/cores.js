// Cores: what each takes in, how its log is, and how long each stage's polls take.

import { colour, h, pen, put } from "../dom.js";
import * as format from "../format.js";
import { crumbs, mark } from "../pieces.js";
import { sparkRate } from "../spark.js";
import * as store from "../store.js";

const STRIP = [184, 24];

export function coresView(view) {
  const body = h("div", { class: "lanes" });
  put(view, crumbs(["Cores"]), h("h1", {}, "Cores"), body);
  const draw = () => store.state.cores && put(body, store.state.cores.map(card));
  const stop = store.listen((what) => what === "cores" && draw());
  if (store.state.cores) draw();
  else put(body, h("p", { class: "dim" }, "Waiting for the server."));
  return stop;
}

function card(core) {
  const fact = (word, value) => h("dl", {}, h("dt", {}, word), h("dd", {}, value));
  const spark = h("canvas", { class: "spark" });
  requestAnimationFrame(() => sparkRate(spark, store.coreRates.get(core.shard) ?? []));
  const healthy = core.log.health === "healthy";
  return h("section", { class: "panel" },
    h("header", {}, h("h2", {}, `Shard ${core.shard}`), h("span", { class: "dim" }, `${core.core === null ? "not pinned" : `core ${core.core}`}, ${core.io}`)),
    h("div", { class: "body facts" },
      h("dl", {}, h("dt", {}, "Samples in a second"), h("dd", {}, format.count(Math.round(core.samples_per_second)), spark)),
      fact("Frames in a second", format.count(Math.round(core.frames_per_second))), fact("Bytes in a second", format.bytes(Math.round(core.bytes_per_second))),
      fact("Samples since the start", format.count(core.samples_total)),
      fact("Log", mark(healthy ? "normal" : "critical", core.log.health)), fact("On disk", `${format.bytes(core.log.bytes)}, ${format.count(core.log.segments)} segments`),
      fact("On the way to disk", format.bytes(Math.max(0, core.log.end - core.log.durable))), fact("Syncs", format.count(core.log.syncs))),
    core.log.reason ? h("p", { class: "empty is-critical" }, core.log.reason) : null,
    h("div", { class: "scroll" }, stages([...core.stages, core.cycle, ...(core.frame_to_visible.polls ? [core.frame_to_visible] : [])])));
}

function stages(list) {
  const numbers = [["p50", "p50_ns"], ["p99", "p99_ns"], ["p99.9", "p999_ns"], ["max", "max_ns"]];
  return h("table", { class: "stages" },
    h("thead", {}, h("tr", {}, h("th", {}, "Stage"), numbers.map(([word]) => h("th", { class: "num" }, word)),
      h("th", {}, h("span", { class: "scale", title: "Polls by duration; the height is logarithmic" }, ["1 µs", "30 µs", "1 ms", "30 ms", "1 s"].map((word) => h("span", {}, word)))))),
    h("tbody", {}, list.map((stage) => h("tr", {}, h("td", { class: "nowrap" }, stage.name, " ", h("span", { class: "dim" }, stage.lane === "all" ? "" : stage.lane)),
      numbers.map(([, key]) => h("td", { class: "num" }, stage.polls ? format.nanos(stage[key]) : "–")), h("td", { class: "strip" }, strip(stage))))));
}

/** How often a poll took how long: a bar for each bucket, its height the logarithm of the count. */
function strip(stage) {
  const words = stage.buckets.filter(([, n]) => n).map(([upper, n]) => `${upper === null ? "longer" : `to ${format.nanos(upper)}`}: ${format.count(n)}`);
  const canvas = h("canvas", { role: "img", "aria-label": `Polls by duration: ${words.join(", ")}`, title: words.join("\n") });
  requestAnimationFrame(() => {
    const [width, height] = STRIP;
    const context = pen(canvas, width, height);
    if (!context) return;
    const most = Math.log1p(Math.max(1, ...stage.buckets.map(([, n]) => n)));
    const wide = width / stage.buckets.length;
    context.fillStyle = colour("line");
    context.fillRect(0, height - 1, width, 1);
    context.fillStyle = colour("dim");
    stage.buckets.forEach(([, n], at) => {
      const tall = (Math.log1p(n) / most) * (height - 3);
      context.fillRect(at * wide + 1, height - 1 - tall, wide - 2, tall);
    });
  });
  return canvas;
}
