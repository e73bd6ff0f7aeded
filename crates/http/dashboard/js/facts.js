// Facts of one thing, a word and what it is, updated in place: a link in it stays the same link.

import { h, put, text } from "./dom.js";

export class Facts {
  /** `columns` as of `Rows`: `{ head, text(row) }`, `{ head, sign(row), make(row) }`, `draw(canvas, row)` beside either; `wide` takes two places. */
  constructor(columns) {
    this.cells = columns.map((column) => {
      const value = h("span");
      const canvas = column.draw ? h("canvas", { class: "spark", "aria-hidden": "true" }) : null;
      return { column, value, canvas, sign: null, element: h("dl", { class: column.wide ? "wide" : "" }, h("dt", {}, column.head), h("dd", {}, value, canvas)) };
    });
    this.element = h("div", { class: "body facts" }, this.cells.map((cell) => cell.element));
  }

  show(row) {
    for (const cell of this.cells) {
      const { column, value, canvas } = cell;
      if (canvas) requestAnimationFrame(() => column.draw(canvas, row));
      if (column.text) {
        text(value, String(column.text(row) ?? "–"));
        continue;
      }
      const sign = String(column.sign(row));
      if (sign !== cell.sign) put(value, column.make(row) ?? []);
      cell.sign = sign;
    }
  }
}

/** Puts children in place of what was there only where the sign changed. */
export function steady(element, sign, make) {
  if (element.dataset.sign === sign) return;
  element.dataset.sign = sign;
  put(element, make());
}
