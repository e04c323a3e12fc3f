// @ts-check
// What is seen: which times, which lanes, what is chosen; and the drawing of all of it.

const ROOM = { wide: { left: 216, name: 0, block: 26, gap: 12 }, narrow: { left: 0, name: 17, block: 24, gap: 8 } };
const NARROW = 640; // pixels of a page on which names stand above their lanes
const AXIS = 26;
const STRIP = 9; // pixels of a finding's row
const RIGHT = 12;
const LEAST = 20; // nanoseconds of a view
const STRIPS = 10; // findings with a row above the lanes; a hand over an event is told of all

/** An event, or a finding's place. @typedef {{lane: Lane, i: number} | null} Event_ */

class View {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} box that scrolls
   * @param {any} head
   * @param {any} data
   */
  constructor(canvas, box, head, data) {
    this.canvas = canvas;
    this.box = box;
    this.head = head;
    this.data = data;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.context.font = FONT;
    this.words = new Words(this.context);
    this.pixels = new Pixels();
    this.says = new Says(head, data);
    this.low = 0;
    this.high = head.span;
    /** @type {Event_} */
    this.hover = null;
    /** @type {Event_} */
    this.chosen = null;
    this.lane = -1; // chosen by the keyboard
    this.printing = false;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.asked = 0;
    /** @type {Ink[]} */
    this.inks = [];
    this.arrows = 0; // drawn so far
    this.width = 0;
    this.height = 0;
    this.room = ROOM.wide;
    this.step = 0; // from lane to lane
    this.strips = 0; // of all findings' rows
    /** @type {any[]} */
    this.shown = [];
    this.layout();
  }

  /** Sizes, after the page got another one. */
  layout() {
    const width = this.box.clientWidth;
    this.room = width < NARROW ? ROOM.narrow : ROOM.wide;
    this.shown = this.data.findings.slice(0, STRIPS);
    this.strips = this.shown.length ? this.shown.length * STRIP + 14 : 0;
    this.step = this.room.name + this.room.block + this.room.gap;
    const tall = AXIS + this.strips + this.step * this.data.lanes.length + 8;
    const most = Math.max(260, Math.round(0.72 * innerHeight));
    this.width = width;
    this.height = Math.min(tall, most);
    this.box.style.height = `${this.height}px`;
    const inside = /** @type {HTMLElement} */ (this.canvas.parentElement);
    inside.style.height = `${tall}px`;
    const ratio = Math.min(3, devicePixelRatio || 1);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.ask();
  }

  /** Nanoseconds of a pixel. */
  get pixel() {
    return (this.high - this.low) / this.across;
  }

  /** Pixels of the lanes' width. */
  get across() {
    return Math.max(1, this.width - this.room.left - RIGHT);
  }

  /** @param {number} time */
  x(time) {
    return this.room.left + (time - this.low) / this.pixel;
  }

  /** @param {number} x */
  time(x) {
    return this.low + (x - this.room.left) * this.pixel;
  }

  /** Where a lane's blocks begin, on the canvas. @param {number} number */
  top(number) {
    return AXIS + this.strips + number * this.step + this.room.name + this.room.gap - Math.round(this.box.scrollTop);
  }

  /**
   * Show these times; they are kept inside the window.
   * @param {number} low
   * @param {number} high
   */
  show(low, high) {
    const span = Math.min(Math.max(high - low, LEAST), this.head.span);
    const middle = (low + high) / 2;
    this.low = Math.min(Math.max(0, middle - span / 2), this.head.span - span);
    this.high = this.low + span;
    this.ask();
  }

  /**
   * Zoom, keeping a time where it is.
   * @param {number} factor of the times seen
   * @param {number} time
   */
  zoom(factor, time = (this.low + this.high) / 2) {
    const span = Math.min(Math.max((this.high - this.low) * factor, LEAST), this.head.span);
    const low = time - (span * (time - this.low)) / (this.high - this.low);
    this.show(low, low + span);
  }

  /** Move by a share of what is seen. @param {number} share */
  pan(share) {
    const by = share * (this.high - this.low);
    this.show(this.low + by, this.high + by);
  }

  /** The colours of now. */
  ink() {
    const scheme = this.dark.matches && !this.printing ? 1 : 0;
    return (this.inks[scheme] = this.inks[scheme] || new Ink(this.head, scheme));
  }

  /** Draw before the next picture of the screen. */
  ask() {
    if (!this.asked) this.asked = requestAnimationFrame(() => this.draw());
  }

  /** Draw now. */
  draw() {
    cancelAnimationFrame(this.asked);
    this.asked = 0;
    const context = this.context;
    const ink = this.ink();
    context.font = FONT;
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillStyle = ink.ground;
    context.fillRect(0, 0, this.width, this.height);
    if (this.head.focus) this.drawFocus(ink);
    this.drawGrid(ink);
    if (this.strips) this.drawFindings(ink);
    context.save();
    context.beginPath();
    context.rect(0, AXIS, this.width, this.height - AXIS);
    context.clip();
    const seen = this.data.lanes.filter((/** @type {Lane} */ lane) => this.top(lane.number) < this.height && this.top(lane.number) + this.room.block > AXIS);
    this.pixels.begin(seen.length, this.across, this.room.block);
    const places = seen.map((/** @type {Lane} */ lane) => this.place(lane));
    const wide = seen.map((/** @type {Lane} */ lane, /** @type {number} */ row) => this.pixels.make(lane, places[row], ink, row));
    this.pixels.end();
    context.imageSmoothingEnabled = false;
    seen.forEach((/** @type {Lane} */ lane, /** @type {number} */ row) => {
      this.drawTitle(lane, places[row].top, ink);
      this.pixels.draw(context, lane, places[row], { ink, row, wide: wide[row] });
      drawNames(context, lane, wide[row], places[row], { ink, words: this.words, label: (l, i) => this.says.label(l, i) });
      if (lane.hits.length) drawHits(context, lane, places[row], ink);
    });
    for (const event of [this.chosen, this.hover]) if (event) this.drawEvent(event, ink);
    context.restore();
    this.drawAxis(ink);
  }

  /** @param {Lane} lane @returns {Place} */
  place(lane) {
    return { left: this.room.left, top: this.top(lane.number), width: this.across, block: this.room.block, low: this.low, high: this.high };
  }

  /** @param {Ink} ink */
  drawFocus(ink) {
    const [from, to] = this.head.focus.map((/** @type {number} */ time) => Math.min(Math.max(this.x(time), this.room.left), this.width - RIGHT));
    this.context.fillStyle = ink.focus;
    this.context.fillRect(from, AXIS, to - from, this.height - AXIS);
  }

  /** The times with a mark, and how their texts look. */
  ticks() {
    const [unit, size] = unitOf(this.high - this.low);
    const each = ((this.high - this.low) / size / Math.max(2, this.across / 110)) || 1;
    const power = 10 ** Math.floor(Math.log10(each));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= each * (1 - 1e-9)) || 10 * power;
    const decimals = Math.min(9, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    const first = Math.ceil((this.low + this.head.since) / size / step);
    const last = Math.floor((this.high + this.head.since) / size / step);
    const times = [];
    for (let i = first; i <= last && times.length < 100; i++) times.push({ x: this.x(i * step * size - this.head.since), text: grouped(i * step, decimals) + (this.room.left ? "" : ` ${unit}`) });
    return { unit, times };
  }

  /** @param {Ink} ink */
  drawGrid(ink) {
    this.context.fillStyle = ink.grid;
    for (const { x } of this.ticks().times) this.context.fillRect(Math.round(x), AXIS, 1, this.height - AXIS);
  }

  /** @param {Ink} ink */
  drawAxis(ink) {
    const context = this.context;
    const { unit, times } = this.ticks();
    context.fillStyle = ink.ground;
    context.fillRect(0, 0, this.width, AXIS - 3);
    context.fillStyle = ink.quiet;
    const said = `${unit} since the first event`;
    if (this.room.left) context.fillText(said, this.room.left - 8 - this.words.width(said), 11);
    for (const { x, text } of times) {
      const half = this.words.width(text) / 2;
      context.fillText(text, Math.min(Math.max(x - half, this.room.left), this.width - 2 * half - 3), 11);
    }
    context.fillStyle = ink.grid;
    context.fillRect(this.room.left, AXIS - 5, this.across, 2);
    context.fillStyle = ink.quiet; // which part of the window is seen
    const share = this.across / this.head.span;
    context.fillRect(this.room.left + this.low * share, AXIS - 6, Math.max(4, (this.high - this.low) * share), 4);
  }

  /** @param {Ink} ink */
  drawFindings(ink) {
    const context = this.context;
    const top = AXIS + 4 - this.box.scrollTop;
    context.fillStyle = ink.quiet;
    if (top < AXIS - 8) return;
    if (this.room.left) context.fillText("findings", this.room.left - 14 - this.words.width("findings"), top + 8);
    this.shown.forEach((/** @type {any} */ finding, /** @type {number} */ i) => {
      context.fillStyle = /** @type {Record<string, string>} */ (ink.severity)[finding.severity];
      const y = top + i * STRIP;
      let free = -Infinity;
      for (let at = lower(finding.end, this.low); at < finding.start.length && finding.start[at] < this.high; at++) {
        const from = Math.max(this.x(finding.start[at]), this.room.left);
        const to = Math.min(Math.max(this.x(finding.end[at]), from + THIN), this.width - RIGHT);
        if (to <= free) continue;
        context.fillRect(from, y, to - from, STRIP - 2);
        free = to;
      }
    });
  }

  /**
   * @param {Lane} lane
   * @param {number} top
   * @param {Ink} ink
   */
  drawTitle(lane, top, ink) {
    const context = this.context;
    const chosen = lane.number === this.lane;
    context.fillStyle = ink.grid;
    context.fillRect(this.room.left, top + this.room.block, this.across, 1);
    if (!this.room.left) {
      context.fillStyle = ink.ink;
      const text = this.words.fitted(`${chosen ? "▸ " : ""}${lane.title}  ${lane.figures}`, this.width - 8);
      context.fillText(text, 2, top - 10);
      return;
    }
    const right = this.room.left - 10;
    context.fillStyle = ink.ink;
    const title = this.words.fitted(`${chosen ? "▸ " : ""}${lane.title}`, right - 4);
    context.fillText(title, right - this.words.width(title), top + 6);
    context.fillStyle = ink.quiet;
    const figures = this.words.fitted(lane.figures, right - 4);
    context.fillText(figures, right - this.words.width(figures), top + 21);
  }

  /**
   * An outline, and arrows from the launch to the work.
   * @param {{lane: Lane, i: number}} event
   * @param {Ink} ink
   */
  drawEvent(event, ink) {
    const { lane, i } = event;
    const context = this.context;
    const from = Math.max(this.x(lane.start[i]), this.room.left);
    const to = Math.min(this.x(lane.end[i]), this.width - RIGHT);
    context.strokeStyle = ink.ink;
    context.lineWidth = 2;
    if (to >= this.room.left && from <= this.width - RIGHT)
      context.strokeRect(from - 1, this.top(lane.number) - 1, Math.max(THIN, to - from) + 2, this.room.block + 2);
    const links = this.data.links;
    const caller = links.caller(lane, i);
    if (caller) this.drawArrow(caller, event, ink);
    for (const work of links.launched(lane, i, ARROWS)) this.drawArrow(event, work, ink);
  }

  /**
   * @param {{lane: Lane, i: number}} call
   * @param {{lane: Lane, i: number}} work
   * @param {Ink} ink
   */
  drawArrow(call, work, ink) {
    const context = this.context;
    const [x0, x1] = [call.lane.start[call.i], work.lane.start[work.i]].map((time) => Math.min(Math.max(this.x(time), -1e5), 1e5));
    const y0 = this.top(call.lane.number) + this.room.block;
    const y1 = this.top(work.lane.number);
    const bend = Math.max(24, Math.abs(y1 - y0) / 2);
    this.arrows++;
    context.save();
    context.beginPath();
    context.rect(this.room.left, AXIS, this.across, this.height - AXIS);
    context.clip();
    for (const [style, wide] of /** @type {[string, number][]} */ ([[ink.ground, 4], [ink.mark, 1.75]])) {
      context.strokeStyle = style;
      context.lineWidth = wide;
      context.beginPath();
      context.moveTo(x0, y0);
      context.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1 - 5);
      context.stroke();
    }
    context.fillStyle = ink.mark;
    context.beginPath();
    context.moveTo(x1, y1 + 1);
    context.lineTo(x1 - 4.5, y1 - 8);
    context.lineTo(x1 + 4.5, y1 - 8);
    context.fill();
    context.restore();
  }

  /**
   * What lies at a place of the canvas: an event, several in one pixel, or a finding.
   * @param {number} x
   * @param {number} y
   * @returns {{event: Event_, lines: string[]} | null}
   */
  at(x, y) {
    if (x < this.room.left || x > this.width - RIGHT || y < AXIS) return null;
    const down = y - AXIS + this.box.scrollTop;
    if (down < this.strips) {
      const finding = this.shown[Math.floor((down - 4) / STRIP)];
      const time = this.time(x);
      return finding && touches(finding, time - 3 * this.pixel, time + 3 * this.pixel) ? { event: null, lines: this.says.finding(finding) } : null;
    }
    const lane = this.data.lanes[Math.floor((down - this.strips) / this.step)];
    if (!lane) return null;
    const low = this.low + Math.floor((x - this.room.left)) * this.pixel;
    const high = low + this.pixel;
    const under = lane.near(low, high, 50);
    const wide = under.filter((/** @type {number} */ i) => lane.end[i] - lane.start[i] >= this.pixel);
    if (wide.length) return this.one(lane, wide[wide.length - 1]);
    if (under.length > 1) return { event: null, lines: this.says.several(lane, low, high) };
    const close = under.length ? under : lane.near(low - 2 * this.pixel, high + 2 * this.pixel, 50);
    return close.length ? this.one(lane, close[close.length - 1]) : null;
  }

  /**
   * @param {Lane} lane
   * @param {number} i
   * @returns {{event: Event_, lines: string[]}}
   */
  one(lane, i) {
    return { event: { lane, i }, lines: this.says.event(lane, i) };
  }
}
