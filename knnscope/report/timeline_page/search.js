// @ts-check
// Searching by name, and walking from hit to hit, or from event to event of a lane. Hits are not put in order: the next one is looked for.

class Search {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.text = "";
    this.count = 0;
    /** @type {string[] | null} */
    this.folded = null;
  }

  /**
   * Mark every event whose name contains the text, in whatever case.
   * @param {string} text
   */
  look(text) {
    this.text = text.trim().toLowerCase();
    const names = this.view.data.names;
    this.folded = this.folded || names.map((/** @type {string} */ name) => name.toLowerCase());
    const wanted = new Uint8Array(names.length);
    if (this.text) /** @type {string[]} */ (this.folded).forEach((name, i) => (wanted[i] = name.includes(this.text) ? 1 : 0));
    this.count = 0;
    for (const lane of this.view.data.lanes) {
      let found = 0;
      for (let i = 0; i < lane.count; i++) found += wanted[lane.name[i]];
      lane.hits = new Int32Array(found);
      for (let i = 0, at = 0; at < found; i++) if (wanted[lane.name[i]]) lane.hits[at++] = i;
      this.count += found;
    }
    this.view.ask();
  }

  /**
   * The next event after the one that is chosen, or the one before: a hit of the search or, without one, an event of the lane.
   * @param {number} way 1 or -1
   * @returns {Event_}
   */
  next(way) {
    const { view } = this;
    const here = view.chosen;
    if (!this.text) return this.step(way);
    if (!this.count) return null;
    /** @type {{lane: Lane, i: number} | null} */
    let best = null;
    for (const lane of view.data.lanes) {
      const i = this.beside(lane, here, way);
      if (i >= 0 && (!best || way * order(lane, i, best.lane, best.i) < 0)) best = { lane, i };
    }
    if (best) return best;
    view.chosen = null; // around the end
    return here ? this.next(way) : null;
  }

  /**
   * A lane's hit after, or before, an event; -1 if there is none.
   * @param {Lane} lane
   * @param {Event_} here
   * @param {number} way
   */
  beside(lane, here, way) {
    const hits = lane.hits;
    if (!hits.length) return -1;
    let at = way > 0 ? 0 : hits.length - 1;
    if (here) {
      at = firstHit(lane, here.lane.start[here.i]);
      if (way > 0) while (at < hits.length && order(lane, hits[at], here.lane, here.i) <= 0) at++;
      else {
        while (at < hits.length && order(lane, hits[at], here.lane, here.i) < 0) at++;
        at--;
      }
    }
    return at >= 0 && at < hits.length ? hits[at] : -1;
  }

  /** The lane's next event. @param {number} way */
  step(way) {
    const { view } = this;
    const lane = view.chosen ? view.chosen.lane : view.data.lanes[Math.max(0, view.lane)];
    if (!lane || !lane.count) return null;
    let i = view.chosen ? view.chosen.i + way : lane.from(view.low);
    i = Math.min(Math.max(i, 0), lane.count - 1);
    return { lane, i };
  }

  /** How many hits there are, and which one is chosen. */
  said() {
    const here = this.view.chosen;
    if (!this.text) return "";
    if (!this.count) return "not found";
    let before = 0;
    if (!here) return `${grouped(this.count)} found`;
    for (const lane of this.view.data.lanes) {
      let at = firstHit(lane, here.lane.start[here.i]);
      while (at < lane.hits.length && order(lane, lane.hits[at], here.lane, here.i) < 0) at++;
      before += at;
    }
    return `${grouped(before + 1)} of ${grouped(this.count)}`;
  }
}

/**
 * Below 0 where the first event comes before the second: by start, then lane, then number.
 * @param {Lane} lane
 * @param {number} i
 * @param {Lane} other
 * @param {number} j
 */
function order(lane, i, other, j) {
  return lane.start[i] - other.start[j] || lane.number - other.number || i - j;
}
