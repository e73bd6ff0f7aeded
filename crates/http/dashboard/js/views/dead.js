// Dead letters: what no try could deliver, by flow and state; replayed one by one or all of a flow.

import { h, put, text } from "../dom.js";
import * as format from "../format.js";
import { act } from "../ask.js";
import { lastAnswer } from "../attempts.js";
import { dated, letterState, REASON_WORDS, reasonOf } from "../flowpieces.js";
import { choice, crumbs } from "../pieces.js";
import { go, note } from "../route.js";
import { Rows } from "../rows.js";
import * as store from "../store.js";

const REFRESH_MS = 2000;
const LIMIT = 500;

const COLUMNS = [
  { head: "State", label: "", sign: (one) => one.state, make: (one) => letterState(one.state) },
  { head: "Since", cls: "nowrap", sign: (one) => one.time, make: (one) => dated(one.time) },
  { head: "Flow", cls: "nowrap", text: (one) => one.flow },
  { head: "Key", cls: "clip", text: (one) => one.key ?? "–" },
  { head: "Message", cls: "clip", sign: (one) => one.id, make: (one) => h("a", { class: "id", href: `#/letter?id=${encodeURIComponent(one.id)}` }, one.message ?? one.id) },
  { head: "Why", cls: "words", text: reasonOf },
  { head: "Last answer", cls: "clip dim answer", text: lastAnswer },
  { head: "Tries", num: true, text: (one) => one.attempts?.length ?? 0 },
  { head: "By", cls: "nowrap", text: (one) => one.by ?? "" },
];

export function deadView(view, query) {
  const filter = { flow: query.get("flow") ?? "", state: query.get("state") ?? "open", reason: query.get("reason") ?? "" };
  const rows = new Rows({ columns: COLUMNS, open: (one) => go("letter", { id: one.id }), label: "Dead letters" });
  const [count, failure, flows] = [h("span", { class: "dim", "aria-live": "polite" }), h("p", { class: "error hidden" }), h("span")];
  const replay = h("button", { type: "button", onclick: replayAll });
  let [found, full] = [[], false];

  function changed(more) {
    Object.assign(filter, more);
    note("dead", { flow: filter.flow, reason: filter.reason, state: filter.state === "open" ? "" : filter.state });
    drawTools();
    look();
  }

  function drawTools() {
    const names = [...new Set([filter.flow, ...(store.state.flows ?? []).filter((flow) => flow.dead).map((flow) => flow.name)])].filter(Boolean).sort();
    const sign = `${filter.flow} ${names}`;
    if (flows.dataset.sign !== sign) put(flows, choice("Flow", filter.flow, [["", "Any flow"], ...names.map((name) => [name, name])], (flow) => changed({ flow })));
    flows.dataset.sign = sign;
    const open = found.filter((one) => one.state === "open");
    replay.disabled = (!filter.flow && !filter.reason) || !open.length;
    text(replay, filter.flow || filter.reason ? "Replay all of these" : "Choose a flow or a reason to replay all");
  }

  async function replayAll() {
    const open = found.filter((one) => one.state === "open").length;
    const many = full ? `${LIMIT} or more` : format.count(open);
    const which = [filter.flow ? `of ${filter.flow}` : "of any flow", reasonWord(filter.reason)].filter(Boolean).join(", ");
    const question = {
      title: `Replay ${many} dead letter${open === 1 ? "" : "s"} ${which}?`, action: "Replay", comment: "Why (others see it)",
      words: ["Each is mapped anew with the present configuration and sent again, behind what waits for its key. Both tries are kept.",
        "The idempotency key stays the same: a receiver that honours it does nothing twice."],
    };
    const path = `/v1/dead-letters/replay?${new URLSearchParams(Object.entries({ flow: filter.flow, reason: filter.reason }).filter(([, value]) => value))}`;
    if (await act(question, (given) => store.post(path, given), ({ by }, answer) => `${by} replayed ${answer.replayed} dead letter${answer.replayed === 1 ? "" : "s"} ${which}.`)) look();
  }

  async function look() {
    if (document.hidden) return;
    try {
      const state = filter.state === "any" ? "" : filter.state;
      const { body } = await store.get("/v1/dead-letters", { flow: filter.flow, state, limit: LIMIT });
      full = body.length >= LIMIT;
      found = body.filter((one) => !filter.reason || one.reason === filter.reason);
      failure.classList.add("hidden");
      text(count, full ? `${format.count(found.length)} of the newest ${LIMIT}` : format.count(found.length));
      rows.show(found, nothing(filter));
      drawTools();
    } catch (error) {
      failure.classList.remove("hidden");
      text(failure, error.message);
    }
  }

  put(view, crumbs(["Dead letters"]), h("div", { class: "head" }, h("h1", {}, "Dead letters"), flows,
    choice("State", filter.state, [["open", "Open"], ["replayed", "Replayed"], ["discarded", "Discarded"], ["any", "Any state"]], (state) => changed({ state })),
    choice("Reason", filter.reason, [["", "Any reason"], ...REASON_WORDS], (reason) => changed({ reason })),
    count, h("span", { class: "spread" }), replay), failure, h("section", { class: "panel" }, rows.element));
  drawTools();
  look();
  const timer = setInterval(look, REFRESH_MS);
  return () => clearInterval(timer);
}

const reasonWord = (reason) => (REASON_WORDS.find(([word]) => word === reason)?.[1] ?? "").toLowerCase();

function nothing({ flow, state, reason }) {
  if (reason) return "No dead letter fits the filter.";
  const word = state === "any" ? "" : `${state} `;
  return flow ? `There is no ${word}dead letter of ${flow}.` : state === "open" ? "No dead letter is open: everything was delivered, or is still being tried." : `There is no ${word}dead letter.`;
}
