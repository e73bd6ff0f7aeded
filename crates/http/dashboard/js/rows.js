// A table whose rows stay the same elements while their words change, so that focus, what is
// unfolded and slow blinking outlive an update. For lists that fit the page; long ones: table.js.

import { h, put, text } from "./dom.js";

const CONTROLS = "a,button,input,select,textarea,summary";

export class Rows {
  /**
   * - `columns`: `{ head, text(row) }` for plain words, `{ head, sign(row), make(row) }` for more
   *   (made anew only where the sign changed), `{ head, draw(canvas, row) }` for a canvas;
   *   `num` sets numbers to the right, `cls` adds a class
   * - `key(row)` tells rows apart; `open(row)` is Enter and click; `mark(row)` the space bar
   * - `detail(row)` makes what unfolds below a row, anew where `detailSign(row)` changed
   * - `heading` stands over the first two columns in place of their own heads
   * - `level(row)` names the row's class; `empty` is said where there is no row
   */
  constructor(options) {
    Object.assign(this, { key: (row) => row.id, empty: "There is nothing here.", ...options });
    this.made = new Map();
    this.unfolded = new Set();
    this.cursor = null;
    const head = this.columns.slice(this.heading ? 2 : 0).map((one) => h("th", { class: classOf(one), scope: "col" }, one.head));
    if (this.heading) head.unshift(h("th", { class: "heading", colspan: "2" }, this.heading));
    this.body = h("tbody", { onkeydown: (event) => this.onKey(event) });
    this.nothing = h("p", { class: "empty" }, "Waiting for the server.");
    this.table = h("table", { class: `stack ${this.cls ?? ""} ${this.heading ? "none" : "hidden"}`, "aria-label": this.label },
      this.fixed ? h("colgroup", {}, this.columns.map((one) => h("col", { class: classOf(one) }))) : null, h("thead", {}, h("tr", {}, head)), this.body);
    this.element = h("div", { class: "scroll" }, this.table, this.nothing);
  }

  /** Shows these rows in this order. */
  show(rows, empty = this.empty) {
    const wanted = new Map(rows.map((row) => [this.key(row), row]));
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    for (const [key, one] of this.made) {
      if (wanted.has(key)) continue;
      one.element.remove();
      one.detail?.remove();
      this.made.delete(key);
      this.unfolded.delete(key);
    }
    let at = this.body.firstChild;
    for (const [key, row] of wanted) {
      const one = this.made.get(key) ?? this.make(key);
      this.update(one, row);
      for (const element of [one.element, one.detail].filter(Boolean)) {
        if (element === at) at = at.nextSibling;
        else this.body.insertBefore(element, at);
      }
    }
    if (focused && document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
    if (!this.made.has(this.cursor)) this.cursor = rows.length ? this.key(rows[0]) : null;
    this.drawCursor();
    this.table.classList.toggle("hidden", rows.length === 0 && !this.heading);
    this.table.classList.toggle("none", rows.length === 0);
    this.nothing.classList.toggle("hidden", rows.length > 0);
    if (typeof empty === "string") text(this.nothing, empty);
    else put(this.nothing, empty);
  }

  make(key) {
    const cells = this.columns.map((one) => {
      const cell = h("td", { class: classOf(one), "data-label": one.label ?? one.head });
      if (one.draw) cell.append(h("canvas", { class: "spark", "aria-hidden": "true" }));
      return { cell, sign: null };
    });
    const element = h("tr", { tabindex: "-1", onclick: (event) => this.onClick(event, key), onfocusin: () => this.setCursor(key),
      ondblclick: (event) => this.enter && !event.target.closest(CONTROLS) && this.enter(this.made.get(key).row) }, cells.map((one) => one.cell));
    const one = { element, cells, row: null, detail: null, detailSign: null };
    this.made.set(key, one);
    return one;
  }

  update(one, row) {
    one.row = row;
    const fold = this.detail ? "unfolds" : "";
    const cls = [this.open || this.detail || this.enter ? "open" : "", fold, this.level?.(row) ?? ""].join(" ").trim();
    if (one.cls !== cls) one.element.className = one.cls = cls;
    this.columns.forEach((column, at) => {
      const { cell, sign } = one.cells[at];
      if (column.draw) return requestAnimationFrame(() => column.draw(cell.firstChild, row));
      if (column.text) return text(cell, String(column.text(row) ?? ""));
      const now = String(column.sign(row));
      if (now === sign) return;
      one.cells[at].sign = now;
      put(cell, column.make(row) ?? []);
    });
    this.updateDetail(one, row);
  }

  updateDetail(one, row) {
    const open = this.unfolded.has(this.key(row));
    if (this.detail) one.element.setAttribute("aria-expanded", String(open));
    if (!open) {
      one.detail?.remove();
      [one.detail, one.detailSign] = [null, null];
      return;
    }
    const sign = this.detailSign?.(row) ?? "";
    if (one.detail && one.detailSign === sign) return;
    const cell = h("td", { colspan: String(this.columns.length) }, this.detail(row));
    one.detailSign = sign;
    if (one.detail) put(one.detail, cell);
    else one.element.after((one.detail = h("tr", { class: "detail" }, cell)));
  }

  /** Unfolds what stands below a row, or folds it again. */
  toggle(key) {
    if (!this.unfolded.delete(key)) this.unfolded.add(key);
    const one = this.made.get(key);
    if (one) this.updateDetail(one, one.row);
  }

  onClick(event, key) {
    if (event.target.closest(CONTROLS) || String(getSelection())) return;
    this.setCursor(key);
    const { row } = this.made.get(key);
    if (this.detail) this.toggle(key);
    else this.open?.(row);
  }

  setCursor(key) {
    this.cursor = key;
    this.drawCursor();
    this.moved?.();
  }

  /** Exactly one row can be tabbed to. */
  drawCursor() {
    for (const [key, one] of this.made) {
      const here = key === this.cursor;
      one.element.tabIndex = here ? 0 : -1;
      one.element.classList.toggle("cursor", here && Boolean(this.showsCursor));
    }
  }

  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input,select,textarea")) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    const here = [...this.body.children].filter((row) => !row.classList.contains("detail"));
    const one = this.made.get(this.cursor);
    if (event.key in steps) {
      const at = Math.min(Math.max(0, here.indexOf(one?.element) + steps[event.key]), here.length - 1);
      here[at]?.focus();
    } else if (event.target.tagName !== "TR" || !one) return;
    else if (event.key === "Enter") this.detail ? this.toggle(this.cursor) : (this.enter ?? this.open)?.(one.row);
    else if (event.key === " " && this.mark) this.mark(one.row);
    else return;
    event.preventDefault();
  }
}

const classOf = (column) => [column.num ? "num" : "", column.cls ?? ""].join(" ").trim();
