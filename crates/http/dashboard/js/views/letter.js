// One dead letter: what was sent, what came back, and what a person can do about it.

import { h, put, text } from "../dom.js";
import { act } from "../ask.js";
import { attemptsTable } from "../attempts.js";
import { code, dated, fact, flowHref, letterState, messageLink, pretty, reasonOf } from "../flowpieces.js";
import { crumbs } from "../pieces.js";
import { href } from "../route.js";
import * as store from "../store.js";

export function letterView(view, query) {
  const id = query.get("id") ?? "";
  const body = h("div", { class: "stacked" });
  const way = crumbs(["Dead letters", "#/dead"], [id]);
  put(view, way, body);

  async function look() {
    try {
      const { body: letter } = await store.get(`/v1/dead-letters/${encodeURIComponent(id)}`);
      put(way, ...crumbs(["Dead letters", "#/dead"], [letter.flow, href("dead", { flow: letter.flow })], [id]).childNodes);
      put(body, whole(letter, look));
    } catch (error) {
      put(body, h("p", { class: "error" }, error.message, " ", h("a", { href: "#/dead" }, "All dead letters")));
    }
  }
  look();
}

function whole(letter, again) {
  const flow = store.state.flows?.find((one) => one.name === letter.flow);
  return [
    h("h1", {}, letter.message ?? letter.id),
    h("section", { class: "panel" },
      h("header", {}, letterState(letter.state), h("span", { class: "dim" }, "since ", dated(letter.time), letter.by ? `, by ${letter.by}` : "")),
      h("p", { class: "reason" }, `${reasonOf(letter)}.`),
      h("div", { class: "body facts" }, fact("Flow", h("a", { href: flow ? flowHref(flow) : href("flow", { name: letter.flow }) }, letter.flow)), fact("Key", letter.key ?? "–"),
        fact("Message", messageLink(letter.message)), fact("Position", `${letter.offset} of ${letter.stream ?? "its stream"}`),
        letter.replays?.length ? fact("Replays", letter.replays.join(", ")) : null)),
    letter.expression ? mapping(letter) : null,
    h("div", { class: "lanes" }, sent(letter), h("section", { class: "panel" }, h("header", {}, h("h2", {}, "The message, as it came in")), h("div", { class: "body" }, code(letter.message_body, "Message")))),
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, "What came back"), h("span", { class: "dim" }, "every attempt, oldest first")), h("div", { class: "body" }, attemptsTable(letter.attempts))),
    letter.state === "open" ? correct(letter, again) : null,
  ];
}

function mapping(letter) {
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, "The mapping failed"), h("span", { class: "dim" }, "correct the expression in the configuration and replay, or write the body below")),
    h("div", { class: "body lanes" }, h("div", {}, h("p", { class: "dim" }, "Expression"), code(letter.expression, "Expression")),
      h("div", {}, h("p", { class: "dim" }, "What it was given"), code(letter.input, "Input"))));
}

function sent(letter) {
  const request = letter.request;
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, "What was sent")),
    h("div", { class: "body" }, request?.body || request?.url
      ? [h("p", { class: "sent" }, h("b", {}, request.method ?? "POST"), ` ${request.url ?? ""} `, h("span", { class: "dim" }, request.content_type ?? "")), code(request.body, "Body")]
      : h("p", { class: "dim" }, letter.expression ? "Nothing was sent: the mapping made no body." : "Nothing was sent.")));
}

/** The body to send instead, checked as it is typed; replay and discard. */
function correct(letter, again) {
  const before = pretty(letter.request?.body ?? letter.message_body);
  const json = !letter.request?.content_type || /json/.test(letter.request.content_type);
  const box = h("textarea", { class: "code", spellcheck: "false", rows: String(Math.min(18, Math.max(6, before.split("\n").length + 1))), "aria-label": "Body to send", oninput: () => check() });
  box.value = before;
  const verdict = h("p", { class: "dim", role: "status" });
  const changed = () => box.value.trim() !== before.trim();
  const buttons = {
    same: h("button", { type: "button", onclick: () => replay(false) }, "Replay as it is"),
    other: h("button", { type: "button", onclick: () => replay(true) }, "Replay with this body"),
    back: h("button", { type: "button", class: "quiet", onclick: () => { box.value = before; check(); } }, "Undo the changes"),
    discard: h("button", { type: "button", onclick: discard }, "Discard"),
  };

  function check() {
    const fault = json ? faultOf(box.value) : "";
    verdict.className = fault ? "is-high" : "dim";
    text(verdict, fault || (changed() ? "Changed. This body is sent as it stands, without the mapping." : json ? "Valid JSON, not changed." : "Not changed."));
    buttons.same.disabled = changed();
    buttons.other.disabled = !changed() || Boolean(fault);
    buttons.back.disabled = !changed();
  }

  const call = (verb, more) => (given) => store.post(`/v1/dead-letters/${encodeURIComponent(letter.id)}/${verb}`, { ...given, ...more });

  async function replay(corrected) {
    const question = {
      title: `Replay ${letter.message ?? letter.id}?`, action: "Replay", comment: "Why (others see it)",
      words: corrected
        ? [`The body as you changed it is sent to ${letter.request?.url ?? `the target of ${letter.flow}`}, behind what waits for its key.`, "It is another request, with an idempotency key of its own. This letter is kept beside it."]
        : ["The message is mapped anew with the present configuration and sent again, behind what waits for its key.", "The idempotency key stays the same: a receiver that honours it does nothing twice. This letter is kept beside the new try."],
    };
    const body = corrected ? { body: json ? JSON.parse(box.value) : box.value } : {};
    if (await act(question, call("replay", body), ({ by }) => `${by} replayed ${letter.message ?? letter.id}.`)) again();
  }

  async function discard() {
    const question = { title: `Discard ${letter.message ?? letter.id}?`, action: "Discard", comment: "Why (others see it)", words: `${letter.flow} never delivers it. It stays here to be looked at, as discarded.` };
    if (await act(question, call("discard"), ({ by }) => `${by} discarded ${letter.message ?? letter.id}.`)) again();
  }

  check();
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Correct and replay"), h("span", { class: "dim" }, letter.request ? "the body that goes out" : "the message as it came in: make of it what the target wants, or correct the mapping and replay")),
    h("div", { class: "body" }, box, verdict, h("div", { class: "tools" }, buttons.same, buttons.other, buttons.back, h("span", { class: "spread" }), buttons.discard)));
}

/** Where a text is no JSON, in words; empty where it is. */
function faultOf(value) {
  try {
    JSON.parse(value);
    return "";
  } catch (error) {
    const at = Number(/position (\d+)/.exec(error.message)?.[1]);
    const upto = Number.isFinite(at) ? value.slice(0, at).split("\n") : null;
    const place = upto ? `line ${upto.length}, column ${upto.at(-1).length + 1}: ` : "";
    return `This is no JSON; ${place}${error.message.replace(/ in JSON at position.*| \(line.*/, "")}.`;
  }
}
