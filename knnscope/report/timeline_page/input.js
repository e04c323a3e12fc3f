// @ts-check
// Mouse, fingers, keys, and the page around the canvas.

const NEAR = 6; // pixels that a tap may move

/** The page's element. @param {string} id @returns {any} */
function element(id) {
  return document.getElementById(id);
}

class Page {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.search = new Search(view);
    this.tip = element("tip");
    this.said = element("said");
    /** @type {Map<number, {x: number, y: number}>} */
    this.fingers = new Map();
    this.moved = 0;
    this.pointer();
    this.keys();
    this.controls();
    this.tables();
    new ResizeObserver(() => view.layout()).observe(view.box);
    addEventListener("resize", () => view.layout());
    view.box.addEventListener("scroll", () => view.ask(), { passive: true });
    view.dark.addEventListener("change", () => view.ask());
    for (const [name, printing] of /** @type {[string, boolean][]} */ ([["beforeprint", true], ["afterprint", false]])) {
      addEventListener(name, () => {
        view.printing = printing;
        view.draw();
      });
    }
  }

  /** Mouse, pen and fingers. */
  pointer() {
    const { view } = this;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, this.place(event));
      this.moved = 0;
      this.hide();
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = this.place(event);
      const before = this.fingers.get(event.pointerId);
      if (!before) {
        if (event.pointerType !== "touch") this.point(now);
        return;
      }
      const [one, two] = [...this.fingers.keys()];
      if (two === undefined) {
        this.moved += Math.abs(now.x - before.x);
        if (this.moved > NEAR || event.pointerType !== "mouse") view.pan((before.x - now.x) / view.across);
      } else this.pinch(event.pointerId === one ? two : one, before, now);
      this.fingers.set(event.pointerId, now);
    });
    const up = (/** @type {PointerEvent} */ event) => {
      const alone = this.fingers.size === 1;
      const there = this.fingers.delete(event.pointerId);
      if (there && alone && this.moved <= NEAR && event.type === "pointerup") {
        const found = view.at(this.place(event).x, this.place(event).y);
        this.choose(found ? found.event : null, found ? found.lines : [], false);
      }
      canvas.classList.toggle("held", this.fingers.size > 0);
    };
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) canvas.addEventListener(name, up);
    canvas.addEventListener("pointerleave", () => this.hide());
    canvas.addEventListener("dblclick", (event) => {
      const found = view.at(this.place(event).x, this.place(event).y);
      if (found && found.event) this.fit(found.event);
      else view.zoom(0.25, view.time(this.place(event).x));
    });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  /** Where on the canvas. @param {MouseEvent} event */
  place(event) {
    const box = this.view.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /**
   * Two fingers: the times under them stay under them.
   * @param {number} other
   * @param {{x: number, y: number}} before
   * @param {{x: number, y: number}} now
   */
  pinch(other, before, now) {
    const { view } = this;
    const still = /** @type {{x: number, y: number}} */ (this.fingers.get(other));
    this.moved = Infinity;
    const [was, is] = [before.x - still.x, now.x - still.x];
    if (Math.abs(was) < 8 || Math.abs(is) < 8 || was * is < 0) return;
    view.zoom(was / is, view.time(still.x));
  }

  /** Wheel and trackpad: sideways moves, pinching or Ctrl zooms, up and down scrolls the lanes. @param {WheelEvent} event */
  wheel(event) {
    const { view } = this;
    const line = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      view.zoom(Math.exp(Math.max(-0.7, Math.min(0.7, event.deltaY * line * 0.005))), view.time(this.place(event).x));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      view.pan(((event.deltaX || event.deltaY) * line) / view.across);
    } else return;
    this.hide();
  }

  /** Say what is under the mouse. @param {{x: number, y: number}} at */
  point(at) {
    const { view, tip } = this;
    const found = view.at(at.x, at.y);
    const event = found ? found.event : null;
    const same = event === view.hover || (event && view.hover && event.lane === view.hover.lane && event.i === view.hover.i);
    view.hover = event;
    if (!same) view.ask();
    if (!found) {
      tip.hidden = true;
      return;
    }
    fill(tip, found.lines);
    tip.hidden = false;
    const box = view.canvas.getBoundingClientRect();
    const [wide, tall] = [tip.offsetWidth, tip.offsetHeight];
    const left = Math.min(Math.max(4, box.left + at.x + 14), document.documentElement.clientWidth - wide - 4);
    const below = box.top + at.y + 18;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below + tall < innerHeight - 4 ? below : Math.max(4, box.top + at.y - tall - 12)}px`;
  }

  hide() {
    this.tip.hidden = true;
    if (this.view.hover) {
      this.view.hover = null;
      this.view.ask();
    }
  }

  /**
   * Choose an event, or none.
   * @param {Event_} event
   * @param {string[]} lines
   * @param {boolean} bring it into view
   */
  choose(event, lines, bring) {
    const { view } = this;
    view.chosen = event;
    if (event) {
      view.lane = event.lane.number;
      if (bring) this.bring(event);
    }
    fill(this.said, lines.length ? lines : ["Nothing is chosen: point at a block, tap it, or press n for the next one."]);
    element("count").textContent = this.search.said();
    view.ask();
  }

  /** Bring an event into view; the zoom stays, unless it could not be seen. @param {{lane: Lane, i: number}} event */
  bring(event) {
    const { view } = this;
    const [start, end] = [event.lane.start[event.i], event.lane.end[event.i]];
    let span = view.high - view.low;
    if ((end - start) / view.pixel < 4) span = Math.max(60 * (end - start), 2000);
    if (end - start > span) span = 1.5 * (end - start);
    const middle = (start + Math.min(end, start + span)) / 2;
    if (span !== view.high - view.low || start < view.low || end > view.high) view.show(middle - span / 2, middle + span / 2);
    const top = view.top(event.lane.number);
    if (top < AXIS + 10) view.box.scrollTop += top - AXIS - 30;
    if (top + view.room.block > view.height) view.box.scrollTop += top + view.room.block - view.height + 10;
  }

  /** An event from edge to edge, nearly. @param {{lane: Lane, i: number}} event */
  fit(event) {
    const [start, end] = [event.lane.start[event.i], event.lane.end[event.i]];
    const margin = Math.max(0.15 * (end - start), 200);
    this.view.show(start - margin, end + margin);
  }

  /** The next hit, or event. @param {number} way */
  next(way) {
    const found = this.search.next(way);
    if (found) this.choose(found, this.view.says.event(found.lane, found.i), true);
  }

  /** Another lane: in it the first event that begins in view. @param {number} way */
  lane(way) {
    const { view } = this;
    const lanes = view.data.lanes;
    view.lane = Math.min(Math.max(view.lane + way, 0), lanes.length - 1);
    const lane = lanes[view.lane];
    const i = Math.min(lane.from(view.low), lane.count - 1);
    if (i >= 0) this.choose({ lane, i }, view.says.event(lane, i), true);
    else this.choose(null, [`${lane.title}: ${lane.figures}`], false);
  }

  keys() {
    const { view } = this;
    /** @type {Record<string, (event: KeyboardEvent) => void>} */
    const does = {
      ArrowLeft: (event) => view.pan(event.shiftKey ? -0.75 : -0.15),
      ArrowRight: (event) => view.pan(event.shiftKey ? 0.75 : 0.15),
      "+": () => view.zoom(1 / 1.6, this.center()),
      "=": () => view.zoom(1 / 1.6, this.center()),
      "-": () => view.zoom(1.6, this.center()),
      0: () => view.show(0, view.head.span),
      "/": () => element("search").focus(),
      n: () => this.next(1),
      p: () => this.next(-1),
      "?": () => element("help").showModal(),
      Escape: () => this.choose(null, [], false),
    };
    /** @type {Record<string, () => void>} */
    const onCanvas = {
      ArrowUp: () => this.lane(-1),
      ArrowDown: () => this.lane(1),
      Home: () => view.show(0, view.high - view.low),
      End: () => view.show(view.head.span - (view.high - view.low), view.head.span),
      Enter: () => view.chosen && this.fit(view.chosen),
    };
    document.addEventListener("keydown", (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input, dialog, dialog *")) return;
      const act = (target === view.canvas && onCanvas[event.key]) || does[event.key];
      if (!act || (target.matches(".scrolls") && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      this.hide();
      act(event);
    });
  }

  /** The time that zooming by keys keeps: that of the chosen event, where it is seen. */
  center() {
    const { view } = this;
    const time = view.chosen ? (view.chosen.lane.start[view.chosen.i] + view.chosen.lane.end[view.chosen.i]) / 2 : -1;
    return time >= view.low && time <= view.high ? time : (view.low + view.high) / 2;
  }

  controls() {
    const { view } = this;
    const input = element("search");
    const look = () => {
      this.search.look(input.value);
      element("count").textContent = this.search.said();
    };
    let later = 0;
    input.addEventListener("input", () => {
      clearTimeout(later);
      later = setTimeout(look, 150);
    });
    input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") input.value = "";
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      clearTimeout(later);
      look();
      if (event.key === "Escape") view.canvas.focus({ preventScroll: true });
      else this.next(event.shiftKey ? -1 : 1);
    });
    /** @type {Record<string, () => void>} */
    const does = {
      earlier: () => view.pan(-0.5),
      later: () => view.pan(0.5),
      closer: () => view.zoom(1 / 2, this.center()),
      farther: () => view.zoom(2, this.center()),
      whole: () => view.show(0, view.head.span),
      previous: () => this.next(-1),
      next: () => this.next(1),
      keys: () => element("help").showModal(),
    };
    for (const [id, act] of Object.entries(does)) element(id).addEventListener("click", act);
  }

  /** Names and findings in the tables become buttons. */
  tables() {
    const { view } = this;
    const button = (/** @type {Element} */ cell, /** @type {() => void} */ act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = cell.textContent;
      made.addEventListener("click", () => {
        act();
        view.canvas.scrollIntoView({ block: "nearest" });
        view.canvas.focus({ preventScroll: true });
      });
      cell.replaceChildren(made);
    };
    for (const cell of document.querySelectorAll("td[data-name]")) {
      button(cell, () => {
        element("search").value = cell.textContent;
        this.search.look(cell.textContent || "");
        view.chosen = null;
        this.next(1);
      });
    }
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("td[data-finding]"))) {
      const finding = view.data.findings[Number(cell.dataset.finding)];
      button(cell, () => {
        const [start, end] = [finding.start[0], finding.end[0]];
        view.show(start - (end - start), end + (end - start));
        this.choose(null, view.says.finding(finding), false);
      });
    }
  }
}

/** Texts as lines, and never as anything else. @param {HTMLElement} box @param {string[]} lines */
function fill(box, lines) {
  box.replaceChildren(...lines.map((line, i) => {
    const part = document.createElement(i ? "span" : "b");
    part.textContent = line;
    return part;
  }));
}

/** Show the events in place of the still picture; where that cannot be, say why in a sentence. */
async function start() {
  const head = JSON.parse(element("head").textContent);
  if (typeof DecompressionStream === "undefined") {
    element("why").textContent = "This browser cannot unpack the events: one of 2023 or later shows them. Below are the whole window, still, and the tables.";
    return;
  }
  const data = await unpacked(head, element("columns").textContent);
  element("columns").remove();
  document.body.classList.add("live");
  const view = new View(element("canvas"), element("lanes"), head, data);
  const page = new Page(view);
  page.choose(null, [], false);
  Object.assign(window, { timeline: { view, page, head, data } }); // for whoever has questions of their own, and for the tests
}

start().catch((error) => {
  document.body.classList.remove("live");
  element("why").textContent = `The events cannot be shown (${error.message || error}). Below are the whole window, still, and the tables.`;
});
