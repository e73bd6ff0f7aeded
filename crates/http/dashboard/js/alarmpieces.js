// What the views of alarms share: marks by priority (ISA-101), states, and what a person can do (ISA-18.2).

import { h, s } from "./dom.js";
import * as format from "./format.js";
import { ask, say } from "./ask.js";
import { mark } from "./pieces.js";
import * as store from "./store.js";

export const PRIORITIES = ["critical", "high", "medium", "low"];
const SHAPES = {
  critical: ["rect", { x: 1, y: 1, width: 16, height: 16 }, 13],
  high: ["path", { d: "M9 0.5 L17.5 17 H0.5 Z" }, 15],
  medium: ["path", { d: "M9 0 L18 9 L9 18 L0 9 Z" }, 13],
  low: ["circle", { cx: 9, cy: 9, r: 8 }, 13],
};

/** Whether nobody acknowledged it yet; it blinks until somebody does. */
export const unacknowledged = (alarm) => alarm.state === "unacknowledged" || alarm.state === "cleared-unacknowledged";

/** The shape of a priority with its number in it; an outline where the cause is gone, blinking while unacknowledged. */
export function priorityShape(priority, { blink = false, outline = false } = {}) {
  const [name, props, y] = SHAPES[priority] ?? SHAPES.low;
  const number = PRIORITIES.indexOf(priority) + 1 || 4;
  const made = s("svg", { viewBox: "0 0 18 18", class: `alarm-shape on-${priority} ${outline ? "outline" : ""} ${blink ? "unacknowledged" : ""}`, role: "img", "aria-label": `Priority ${number}, ${priority}` },
    s(name, { ...props, class: `fill-${priority}` }), s("text", { x: 9, y, "text-anchor": "middle" }, String(number)));
  // All of them in step: a screen that flickers all over tells nothing.
  if (blink) requestAnimationFrame(() => made.getAnimations().forEach((one) => (one.startTime = 0)));
  return made;
}

/** Shape, number and word of an alarm's priority. */
export const alarmMark = (alarm) => h("span", { class: `state is-${alarm.priority}` },
  priorityShape(alarm.priority, { blink: unacknowledged(alarm), outline: !alarm.active }), alarm.priority);

/** The state in words; only what asks for a person is coloured. */
export function alarmState(alarm) {
  const word = alarm.state.replace("cleared-unacknowledged", "cleared, unacknowledged").replaceAll("-", " ");
  const until = alarm.shelved ? (alarm.shelved.kind === "one-shot" ? "once" : `until ${format.clockShort(format.ms(alarm.shelved.until))}`) : "";
  return unacknowledged(alarm) ? h("b", {}, word) : mark("normal", until ? `${word} ${until}` : word);
}

/** How many wait for somebody, and the highest priority among them; from what the stream tells of alarms. */
export function waiting(alarms) {
  const open = (alarms?.list ?? []).filter(unacknowledged);
  const told = (alarms?.states?.unacknowledged ?? 0) + (alarms?.states?.["cleared-unacknowledged"] ?? 0);
  return { count: Math.max(open.length, told), priority: PRIORITIES.find((one) => open.some((alarm) => alarm.priority === one)) ?? "low" };
}

/** By priority, then what nobody has seen, then newest first: the order of the API. */
export const byPriority = (a, b) => PRIORITIES.indexOf(a.priority) - PRIORITIES.indexOf(b.priority) || unacknowledged(b) - unacknowledged(a) || String(b.since ?? "").localeCompare(String(a.since ?? ""));

const until = (minutes) => `until ${format.clockShort(format.now() + minutes * 60_000)} ${format.zoneName()}`;
const shelve = (word, body, when) => ({
  verb: "shelve", group: "Shelve", word, body, did: "shelved", can: (one) => !one.shelved && one.state !== "out-of-service",
  words: () => [`It leaves the list and calls nobody ${when()}. Its cause is not gone.`, "It comes back by itself, and stands among the shelved until then."],
});

/** What a person can do, when it can be done, and what will happen. */
export const ACTIONS = [
  { verb: "ack", word: "Acknowledge", key: "a", did: "acknowledged", can: (one) => unacknowledged(one), words: () => "You have seen it and take it on. It stops blinking for everybody, and stays until its cause is gone." },
  { verb: "confirm", word: "Confirm", did: "confirmed", can: (one) => one.acknowledged && !one.confirmed, words: () => "You say that what it asked for has been done." },
  shelve("15 min", { for: "15m" }, () => until(15)), shelve("1 h", { for: "1h" }, () => until(60)), shelve("8 h", { for: "8h" }, () => until(480)),
  shelve("once", { once: true }, () => "until it has cleared and comes again"),
  { verb: "unshelve", word: "Unshelve", did: "unshelved", can: (one) => Boolean(one.shelved), words: () => "It comes back to the list now." },
  { verb: "suppress", word: "Suppress", did: "suppressed", can: (one) => !one.suppressed, words: () => "By design it is not wanted in this state of the plant. It calls nobody until somebody lifts this; its journal goes on." },
  { verb: "unsuppress", word: "Lift suppression", did: "lifted the suppression of", can: (one) => one.suppressed, words: () => "It calls again when its cause is there." },
  { verb: "out-of-service", word: "Out of service", did: "took out of service", can: (one) => !one.out_of_service, words: () => "For maintenance. It calls nobody until somebody puts it back in service. Say why." },
  { verb: "in-service", word: "Back in service", did: "put back in service", can: (one) => one.out_of_service, words: () => "It calls again when its cause is there." },
  { verb: "reset", word: "Reset", did: "reset", can: (one) => one.latched && !one.active && one.acknowledged, words: () => "It is latched and its cause is gone: it goes back to normal." },
];

const title = (alarm) => alarm.message || `${alarm.rule} ${alarm.tag ?? ""}`.trim();

/** Asks once for all of the alarms that it fits, does it to each, and says what came of it. */
export async function perform(action, alarms) {
  const fit = alarms.filter(action.can);
  if (!fit.length) return;
  const what = action.group ? `${action.group} ${action.word === "once" ? "once" : `for ${action.word}`}` : action.word;
  const many = fit.length === 1 ? `“${title(fit[0])}”` : `${fit.length} alarms`;
  const given = await ask({ title: `${what}: ${many}?`, words: action.words(), action: what, comment: "Comment (others see it)" });
  if (!given) return;
  const failed = [];
  for (const alarm of fit) {
    await store.post(`/v1/alarms/${encodeURIComponent(alarm.id)}/${action.verb}`, { ...given, ...action.body }).catch((error) => failed.push(error.message));
  }
  const done = fit.length - failed.length;
  if (done) say("normal", `${format.clock(format.now())} ${given.by} ${action.did} ${fit.length === 1 ? many : `${done} alarms`}.`);
  if (failed.length) say("critical", `${failed.length === 1 ? "" : `${failed.length} times: `}${failed[0]}`);
}

/** Buttons for all that can be done; `targets()` answers the alarms that they are for, `done()` hears that it was tried. */
export function actionBar(targets, done) {
  const made = ACTIONS.map((action) => ({
    action, button: h("button", { type: "button", title: action.key ? `Key ${action.key}` : "", onclick: () => perform(action, targets()).then(done) }, action.word),
  }));
  const shelf = made.filter(({ action }) => action.group);
  const element = h("div", { class: "tools", role: "toolbar", "aria-label": "What to do with the alarm" },
    made.filter(({ action }) => !action.group).slice(0, 2).map(({ button }) => button),
    h("span", { class: "group labelled", role: "group", "aria-label": "Shelve" }, h("span", { class: "dim" }, "Shelve"), shelf.map(({ button }) => button)),
    made.filter(({ action }) => !action.group).slice(2).map(({ button }) => button));
  // What cannot be done is shown as such where it is the usual way on, and left out elsewhere.
  const always = ["ack", "confirm", "shelve"];
  function update() {
    const alarms = targets();
    for (const { action, button } of made) {
      button.disabled = !alarms.some(action.can);
      button.classList.toggle("hidden", button.disabled && !always.includes(action.verb));
    }
  }
  return { element, update };
}
