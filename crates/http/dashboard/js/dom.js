// Elements, safely: text is always set as text, never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. `on…` properties are listeners, the rest attributes; children are nodes or text. */
export function h(name, props, ...children) {
  return fill(document.createElement(name), props, children);
}

/** The same for SVG. */
export function s(name, props, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

function fill(element, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.setAttribute("class", value);
    else if (element instanceof HTMLElement && key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets text only where it changed, so that the browser has nothing to lay out. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets an element's whole class only where it changed. */
export function classes(element, value) {
  if (element.className !== value) element.className = value;
}

/** Puts children in place of what was there. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** A colour of the theme. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** A canvas's context at the screen's resolution, cleared; null while it has no size. */
export function pen(canvas, width, height) {
  if (width <= 0 || height <= 0) return null;
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
