// Who sits at this screen: asked once, kept in this browser, sent with everything that changes something.
// A name for the record, not a proof of identity.

import { text } from "./dom.js";
import { ask } from "./ask.js";

const KEY = "operator";
const NAME_MAX = 60;

/** The name; empty while nobody gave one. */
export const name = () => localStorage.getItem(KEY) ?? "";

/** Keeps a name. */
export function keep(given) {
  localStorage.setItem(KEY, given.trim().slice(0, NAME_MAX));
  draw();
}

function draw() {
  const button = document.getElementById("who");
  text(button, name() || "Who are you?");
  button.title = name() ? `What you change is recorded as done by ${name()}. Press to change the name.` : "Your name stands with what you change.";
}

/** Shows the name in the bar, where it can be changed. */
export function start() {
  draw();
  document.getElementById("who").addEventListener("click", () => {
    ask({ title: "Who are you?", words: "Your name stands with everything that you change here, for others to see.", action: "Keep", rename: true });
  });
}
