// Demo only: break the simulated business systems and watch what Millstream makes of it.

import { h, put, text } from "./dom.js";
import { say } from "./ask.js";
import * as store from "./store.js";

const MODES = [["ok", "Works"], ["down", "Down"], ["slow", "Slow"], ["429", "429"], ["500", "500"], ["503", "503"], ["hang", "Hangs"], ["twice", "Sends twice"]];
const NAMES = { erp: "ERP", wms: "WMS", mes: "MES", cmms: "CMMS", portal: "Portal" };
const WHAT = {
  ok: "", down: "refuses connections", slow: "takes its time over every answer", 429: "asks to be left alone for a while (429, Retry-After)", 500: "answers every call with an error (500)",
  503: "says that it is unavailable (503)", hang: "takes calls and never answers", twice: "posts everything twice",
};
const WATCH = {
  erp: "Goods receipts wait in order in goods-receipt-to-erp, plan changes in erp-replan; the portal and the CMMS notice nothing.",
  wms: "Requests for material-availability are refused within their deadline, naming the WMS; nothing is released on a guess.",
  mes: "The oven's states wait; only the newest goes out when it is back.",
  cmms: "Tickets wait in cmms-ticket while ERP and portal get every event; when it is back they go out in order.",
  portal: "Delay flags wait in portal-delay; the others go on.",
};
const TWICE = "What comes twice counts once: no receipt and no record is booked again.";

/** The panel; `update()` shows it only where the server says that this is the demo. */
export function demoPanel() {
  const body = h("div", { class: "body" });
  const told = h("span", { class: "dim" });
  const element = h("details", { class: "panel demo hidden" },
    h("summary", {}, h("b", {}, "Demo: break something"), " ", told), body);
  element.open = sessionStorage.getItem("demo") === "open";
  element.addEventListener("toggle", () => sessionStorage.setItem("demo", element.open ? "open" : "closed"));
  let made = new Map();
  let sign = "";

  function update() {
    const { demo } = store.state.status ?? {};
    element.classList.toggle("hidden", !demo);
    if (!demo) return;
    const systems = (demo.systems ?? []).map((one) => (typeof one === "string" ? { name: one, mode: demo.modes?.[one] } : one));
    const now = systems.map((one) => one.name).join();
    if (sign !== now) {
      made = new Map(systems.map((one) => [one.name, systemRow(one.name)]));
      put(body, [...made.values()].map((one) => one.element));
    }
    sign = now;
    for (const one of systems) if (one.mode !== undefined) made.get(one.name).show(one.mode);
    const broken = systems.filter((one) => one.mode && one.mode !== "ok").map((one) => `${NAMES[one.name] ?? one.name} ${WHAT[one.mode] ?? one.mode}`);
    text(told, broken.length ? `Now: ${broken.join("; ")}.` : "in the simulated plant and watch. Begin with the WMS.");
  }
  return { element, update };
}

function systemRow(system) {
  const name = NAMES[system] ?? system;
  const watch = h("p", { class: "watch", "aria-live": "polite" });
  const buttons = MODES.map(([mode, word]) => h("button", { type: "button", onclick: () => set(mode) }, word));

  function show(mode) {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(MODES[at][0] === mode)));
    text(watch, mode === "ok" ? `${name} works.` : `${name} ${WHAT[mode] ?? mode}. ${mode === "twice" ? TWICE : WATCH[system] ?? ""}`);
    watch.className = `watch ${mode === "ok" ? "dim" : ""}`;
  }

  async function set(mode) {
    try {
      await store.post(`/v1/demo/${encodeURIComponent(system)}`, { mode });
      show(mode);
    } catch (error) {
      say("critical", error.message);
    }
  }
  return { element: h("div", { class: "system" }, h("b", {}, name), h("div", { class: "group", role: "group", "aria-label": `${name}: how it behaves` }, buttons), watch), show };
}
