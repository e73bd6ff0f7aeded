// A spark: the last minutes of a value, without axes.

import { colour, pen } from "./dom.js";

/** Draws points `[t, v]` over a fixed time; a gap stays a hole in the line. */
export function sparkTime(canvas, { points, gaps }, to, spanMs = 5 * 60_000) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const context = pen(canvas, width, height);
  if (!context || points.length < 2) return;
  let [low, high] = [Infinity, -Infinity];
  for (const [, v] of points) [low, high] = [Math.min(low, v), Math.max(high, v)];
  const room = (high - low) * 0.1 || Math.abs(high) * 0.02 || 1;
  const x = (t) => width - ((to - t) / spanMs) * width;
  const y = (v) => height - 2 - ((v - low + room) / (high - low + 2 * room)) * (height - 4);
  context.strokeStyle = colour("dim");
  context.lineWidth = 1.2;
  context.lineJoin = "round";
  context.beginPath();
  let before = null;
  for (const [t, v] of points) {
    const hole = gaps.some((gap) => gap.from < t && gap.to > before);
    if (before === null || hole) context.moveTo(x(t), y(v));
    else context.lineTo(x(t), y(v));
    before = t;
  }
  context.stroke();
}

/** Draws numbers at even distance, newest at the right, from zero up. */
export function sparkRate(canvas, values, places = 180) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const context = pen(canvas, width, height);
  if (!context || values.length < 2) return;
  const high = Math.max(...values, 1e-9) * 1.1;
  const x = (at) => width - ((values.length - 1 - at) / (places - 1)) * width;
  const y = (v) => height - 1 - (v / high) * (height - 3);
  context.beginPath();
  values.forEach((v, at) => (at ? context.lineTo(x(at), y(v)) : context.moveTo(x(at), y(v))));
  context.strokeStyle = colour("dim");
  context.lineWidth = 1.2;
  context.stroke();
  context.lineTo(width, height);
  context.lineTo(x(0), height);
  context.fillStyle = colour("soft");
  context.globalAlpha = 0.6;
  context.fill();
  context.globalAlpha = 1;
}
