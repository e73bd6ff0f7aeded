// A table of any length: only the rows in sight exist, in the page and in memory.

import { h } from "./dom.js";

const ROW_PX = 28;
const PAGE = 100;
const PAGES_KEPT = 20;
const BEYOND = 6;

/**
 * Makes a table body.
 * - `fetch(offset, limit, signal)` answers `{ rows, total }`
 * - `make()` makes an empty row `{ element, show(row) }`
 * - `seen(rows)` hears which rows are in sight
 * - `open(row)` and `mark(row)` react to Enter and to the space bar
 */
export class VirtualTable {
  constructor({ fetch, make, seen, open, mark, failed }) {
    Object.assign(this, { fetch, make, seen, open, mark, failed });
    this.space = h("div", { class: "vspace", role: "presentation" });
    this.body = h("div", {
      class: "vbody", tabindex: "0", role: "grid", "aria-label": "Tags",
      onscroll: () => this.plan(), onkeydown: (event) => this.key(event),
    }, this.space);
    this.pool = [];
    this.cursor = 0;
    this.planned = 0;
    this.sizes = new ResizeObserver(() => this.plan());
    this.sizes.observe(this.body);
    this.clear();
  }

  clear() {
    this.abort?.abort();
    this.abort = new AbortController();
    this.pages = new Map();
    this.asked = new Set();
    this.total = null;
  }

  /** Forgets all rows and starts at the top. */
  reset() {
    this.clear();
    this.cursor = 0;
    this.body.scrollTop = 0;
    this.load(0);
  }

  /** Fetches what is in sight again, keeping it on the screen until the answer is there. */
  refresh() {
    this.asked.clear();
    const { first, last } = this.sight();
    for (const page of this.pages.keys()) {
      if (page < Math.floor(first / PAGE) || page > Math.floor(last / PAGE)) this.pages.delete(page);
    }
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) this.load(page);
  }

  async load(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    try {
      const { rows, total } = await this.fetch(page * PAGE, PAGE, this.abort.signal);
      this.pages.set(page, rows);
      if (this.pages.size > PAGES_KEPT) {
        const far = this.pages.keys().next().value;
        this.pages.delete(far);
        this.asked.delete(far);
      }
      if (total !== this.total) {
        this.total = total;
        this.space.style.height = `${total * ROW_PX}px`;
        this.body.setAttribute("aria-rowcount", String(total));
      }
      this.failed(null);
      this.plan();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.asked.delete(page);
      this.failed(error);
    }
  }

  row(at) {
    return this.pages.get(Math.floor(at / PAGE))?.[at % PAGE];
  }

  sight() {
    const height = this.body.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.body.scrollTop / ROW_PX) - BEYOND);
    const last = Math.min((this.total ?? 0) - 1, first + Math.ceil(height / ROW_PX) + 2 * BEYOND);
    return { first, last };
  }

  plan() {
    if (this.planned) return;
    this.planned = requestAnimationFrame(() => {
      this.planned = 0;
      this.draw();
    });
  }

  /** Puts the rows in sight on the screen. */
  draw() {
    const { first, last } = this.sight();
    const seen = [];
    for (let at = first; at <= last; at += 1) {
      const slot = this.slot(at - first);
      const row = this.row(at);
      if (!row) this.load(Math.floor(at / PAGE));
      else seen.push(row);
      slot.element.style.transform = `translateY(${at * ROW_PX}px)`;
      slot.element.classList.toggle("cursor", at === this.cursor);
      slot.element.classList.remove("hidden");
      slot.at = at;
      slot.show(row);
    }
    for (let n = Math.max(0, last - first + 1); n < this.pool.length; n += 1) {
      this.pool[n].element.classList.add("hidden");
      this.pool[n].show(undefined);
    }
    this.seen(seen);
  }

  slot(n) {
    while (this.pool.length <= n) {
      const made = this.make();
      this.pool.push(made);
      made.element.addEventListener("mousedown", () => {
        this.cursor = made.at;
        this.plan();
      });
      made.element.addEventListener("dblclick", () => this.row(made.at) && this.open(this.row(made.at)));
      this.space.append(made.element);
    }
    return this.pool[n];
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.body.clientHeight / ROW_PX) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const row = this.row(this.cursor);
    if (event.key in steps && !event.ctrlKey && !event.altKey) {
      this.cursor = Math.min(Math.max(0, this.cursor + steps[event.key]), Math.max(0, (this.total ?? 1) - 1));
      const top = this.cursor * ROW_PX;
      const bottom = top + ROW_PX - this.body.clientHeight;
      if (this.body.scrollTop > top) this.body.scrollTop = top;
      if (this.body.scrollTop < bottom) this.body.scrollTop = bottom;
      this.plan();
    } else if (event.key === "Enter" && row) this.open(row);
    else if (event.key === " " && row) this.mark(row);
    else return;
    event.preventDefault();
  }

  close() {
    this.abort.abort();
    this.sizes.disconnect();
    cancelAnimationFrame(this.planned);
  }
}
