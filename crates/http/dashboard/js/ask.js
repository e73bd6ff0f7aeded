// Before something changes: one question that says what will happen, and who asks for it.
// Afterwards: a line that says what was done, by whom.

import { h, put } from "./dom.js";
import * as format from "./format.js";
import * as operator from "./operator.js";
import { shape } from "./pieces.js";

const NOTICE_MS = 10_000;

/**
 * Asks once. Answers `{ by, comment }`, or null where the person thought better of it.
 * `comment` is the label of a line of words to give along; `rename` asks for the name alone.
 */
export function ask({ title, words, action, comment, rename }) {
  const dialog = document.getElementById("ask");
  if (dialog.open) return Promise.resolve(null);
  const known = operator.name();
  const who = h("input", { type: "text", autocomplete: "name", maxlength: "60", required: true, "aria-label": "Your name" });
  who.value = known;
  const line = h("label", { class: known && !rename ? "hidden" : "field" }, rename ? "Your name" : "Who are you? Your name stands with what you change.", who);
  const change = h("button", { type: "button", class: "quiet", onclick: () => { line.className = "field"; change.parentNode.remove(); who.select(); } }, "Not you?");
  const note = comment ? h("input", { type: "text", maxlength: "300", "aria-label": comment }) : null;
  const yes = h("button", { class: "main" }, action);
  const no = h("button", { type: "button", onclick: () => dialog.close() }, "Leave it");
  return new Promise((resolve) => {
    let given = null;
    const form = h("form", { method: "dialog", onsubmit: () => {
      operator.keep(who.value);
      given = { by: operator.name(), comment: note?.value.trim() ?? "" };
    } }, h("h2", {}, title), [words].flat().filter(Boolean).map((one) => h("p", {}, one)), line,
      note ? h("label", { class: "field" }, comment, note) : null,
      known && !rename ? h("p", { class: "dim" }, `Recorded as done by ${known}. `, change) : null,
      h("div", { class: "tools" }, yes, no));
    put(dialog, form);
    dialog.addEventListener("close", () => resolve(given), { once: true });
    dialog.showModal();
    (known && !rename ? note ?? yes : who).focus();
  });
}

/** Says a line at the bottom of the page: `normal` goes by itself, anything worse stays until it is closed. */
export function say(level, words) {
  const box = document.getElementById("notices");
  const line = h("div", { class: `notice is-${level === "normal" ? "plain" : level}` }, level === "normal" ? null : shape(level), h("span", {}, words),
    h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => line.remove() }, "✕"));
  box.append(line);
  while (box.children.length > 4) box.firstChild.remove();
  if (level === "normal") setTimeout(() => line.remove(), NOTICE_MS);
}

/**
 * Asks, does it, and says what came of it. `call(given)` does it; `done(given, answer)` is the line afterwards.
 * Answers whether it was done.
 */
export async function act(question, call, done) {
  const given = await ask(question);
  if (!given) return false;
  try {
    const answer = await call(given);
    say("normal", `${format.clock(format.now())} ${done(given, answer)}`);
    return true;
  } catch (error) {
    say("critical", error.message);
    return false;
  }
}
