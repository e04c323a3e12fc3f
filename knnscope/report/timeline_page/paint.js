// @ts-check
// Lanes on a canvas. As in the pictures: what is a pixel and wider is a block; of what is narrower, a pixel is dark as high as the share of
// its time that is covered, in the tone of most of it.

const THIN = 2; // pixels of a block's width at least
const SEEN = 3; // pixels of a dark part's height at least
const NAMED = 30; // pixels from which on a block may have its name inside
const FONT = "12px system-ui, sans-serif";
const ARROWS = 200; // from one call at most

/** Colours of the page's present look; ``scheme``: 0 light, 1 dark. */
class Ink {
  /**
   * @param {any} head
   * @param {number} scheme
   */
  constructor(head, scheme) {
    this.scheme = scheme;
    [this.ground, this.ink, this.quiet, this.grid, this.mark, this.focus] = scheme
      ? ["#14171c", "#e8eaed", "#a5abb3", "#2c323a", "#ffd54a", "#3a3318"]
      : ["#ffffff", "#1b1b1b", "#5c5c5c", "#dcdcdc", "#b3005e", "#fff3c4"];
    /** @type {Record<string, {full: string, pale: string, text: string}[]>} */
    this.of = {};
    for (const group of Object.keys(head.colours)) {
      this.of[group] = head.colours[group].map((/** @type {any} */ colour) => {
        const full = scheme ? colour.dark : colour.light;
        return { full, pale: mixed(full, this.ground, head.pale), text: brightness(full) > 0.3 ? "#1b1b1b" : "#ffffff" };
      });
    }
    this.severity = scheme
      ? { high: "#ff8a80", medium: "#ffcc66", low: "#9fb6cc" }
      : { high: "#b3261e", medium: "#a86400", low: "#5f7488" };
  }
}

/**
 * So much of a colour over another.
 * @param {string} colour
 * @param {string} ground
 * @param {number} share
 */
function mixed(colour, ground, share) {
  const [a, b] = [colour, ground].map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  return "#" + a.map((part, i) => Math.round(b[i] + share * (part - b[i])).toString(16).padStart(2, "0")).join("");
}

/** Relative luminance, as WCAG has it. @param {string} colour */
function brightness(colour) {
  const parts = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255);
  const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Where a lane is drawn, and which times its left and right edge are. @typedef {{left: number, top: number, width: number, block: number, low: number, high: number}} Place */

/** The dark and pale pixels of a lane, and its wide events. One is used for all lanes, since a lane's are drawn before the next one's are found. */
class Pixels {
  constructor() {
    /** @type {Float64Array[]} */
    this.busy = [];
    /** @type {number[]} */
    this.wide = [];
  }

  /**
   * Look at a lane's part of the view. Nodes of its tree that are narrower than half a pixel are not opened.
   * @param {Lane} lane
   * @param {Place} place
   */
  find(lane, place) {
    const { low, high, width } = place;
    const scale = width / (high - low);
    const pixels = Math.ceil(width);
    while (this.busy.length < lane.tones) this.busy.push(new Float64Array(0));
    for (let t = 0; t < lane.tones; t++) {
      if (this.busy[t].length < pixels) this.busy[t] = new Float64Array(pixels);
      else this.busy[t].fill(0);
    }
    this.wide.length = 0;
    let covered = -Infinity; // what wide events fill without a gap, up to here
    const visit = (/** @type {number} */ level, /** @type {number} */ from, /** @type {number} */ to) => {
      const ends = lane.ends[level];
      for (let i = from; i < to; i++) {
        const start = lane.start[i << (FAN_BITS * level)];
        if (start >= high) return;
        const end = ends[i];
        if (end < low || (end === low && start < low)) continue;
        if (this.wide.length > 4 * pixels && end <= covered) continue; // hidden behind those that overlap it
        const long = (end - start) * scale;
        if (level === 0) {
          if (long < 1) this.add(lane.tone(i), start, end, Math.max(1, end - start), place);
          else {
            this.wide.push(i);
            covered = Math.max(covered, end);
          }
        } else if (long < 0.5) {
          for (let t = 0; t < lane.tones; t++) {
            const busy = lane.busy[level][i * lane.tones + t];
            if (busy) this.add(t, start, end, busy, place);
          }
        } else visit(level - 1, i << FAN_BITS, Math.min((i + 1) << FAN_BITS, lane.ends[level - 1].length));
      }
    };
    const top = lane.ends.length - 1;
    visit(top, 0, lane.ends[top].length);
  }

  /**
   * Busy time between two times less than a pixel apart, spread evenly.
   * @param {number} tone
   * @param {number} start
   * @param {number} end
   * @param {number} busy
   * @param {Place} place
   */
  add(tone, start, end, busy, place) {
    const scale = place.width / (place.high - place.low);
    const from = (start - place.low) * scale;
    const to = (end - place.low) * scale;
    const last = Math.ceil(place.width) - 1;
    const first = Math.floor(from);
    const column = this.busy[tone];
    const share = busy * scale;
    if (to > first + 1 && to > from) {
      const before = (first + 1 - from) / (to - from);
      if (first >= 0 && first <= last) column[first] += share * before;
      if (first + 1 >= 0 && first + 1 <= last) column[first + 1] += share * (1 - before);
    } else if (first >= 0 && first <= last) column[first] += share;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Lane} lane
   * @param {Place} place
   * @param {Ink} ink
   */
  draw(context, lane, place, ink) {
    const { left, top, block, width } = place;
    const colours = ink.of[lane.group];
    const pixels = Math.ceil(width);
    for (let tone = 0; tone < lane.tones; tone++) {
      this.runs(lane, pixels, tone, (from, to, share) => {
        context.fillStyle = colours[tone].pale;
        context.fillRect(left + from, top, to - from, block);
        context.fillStyle = colours[tone].full;
        const high = Math.min(block, Math.max(SEEN, Math.round(share * block)));
        context.fillRect(left + from, top + block - high, to - from, high);
      });
    }
    const scale = width / (place.high - place.low);
    for (const i of this.wide) {
      const from = Math.max(0, (lane.start[i] - place.low) * scale);
      const to = Math.min(width, (lane.end[i] - place.low) * scale);
      const wide = Math.max(THIN, to - from);
      const seam = wide > 5 ? 0.75 : 0; // where one ends and the next begins
      context.fillStyle = colours[lane.tone(i)].full;
      context.fillRect(left + Math.min(from, width - wide) + seam, top, wide - seam, block);
    }
  }

  /**
   * Neighboring pixels of one tone and nearly one share.
   * @param {Lane} lane
   * @param {number} pixels
   * @param {number} tone
   * @param {(from: number, to: number, share: number) => void} found
   */
  runs(lane, pixels, tone, found) {
    const steps = 32;
    for (let x = 0, from = 0, last = -1; x <= pixels; x++) {
      let level = -1;
      if (x < pixels) {
        let sum = 0;
        let most = 0;
        for (let t = 0; t < lane.tones; t++) {
          sum += this.busy[t][x];
          if (this.busy[t][x] > this.busy[most][x]) most = t;
        }
        if (sum > 0 && most === tone) level = Math.round(steps * Math.min(1, sum));
      }
      if (level === last) continue;
      if (last >= 0) found(from, x, last / steps);
      from = x;
      last = level;
    }
  }
}

/** Names in blocks, measured once. */
class Words {
  /** @param {CanvasRenderingContext2D} context */
  constructor(context) {
    this.context = context;
    /** @type {Map<string, number>} */
    this.wide = new Map();
  }

  /** Pixels of a text. @param {string} text */
  width(text) {
    let known = this.wide.get(text);
    if (known === undefined) {
      if (this.wide.size > 20000) this.wide.clear();
      this.wide.set(text, (known = this.context.measureText(text).width));
    }
    return known;
  }

  /**
   * The text cut to a width; "" where next to nothing fits.
   * @param {string} text
   * @param {number} room
   */
  fitted(text, room) {
    const whole = this.width(text);
    if (whole <= room) return text;
    let keep = Math.floor((text.length * room) / whole) - 1;
    for (; keep > 3; keep--) {
      const cut = text.slice(0, keep).replace(/[\ud800-\udbff]$/, "") + "…";
      if (this.width(cut) <= room) return cut;
    }
    return "";
  }
}

/**
 * Names inside the wide events.
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {number[]} wide
 * @param {Place} place
 * @param {{ink: Ink, words: Words, label: (lane: Lane, i: number) => string}} look
 */
function drawNames(context, lane, wide, place, look) {
  const scale = place.width / (place.high - place.low);
  let free = -Infinity;
  for (const i of wide) {
    const from = Math.max(0, (lane.start[i] - place.low) * scale, free);
    const to = Math.min(place.width, (lane.end[i] - place.low) * scale);
    if (to - from < NAMED) continue;
    const text = look.words.fitted(look.label(lane, i), to - from - 8);
    if (!text) continue;
    context.fillStyle = look.ink.of[lane.group][lane.tone(i)].text;
    context.fillText(text, place.left + from + 4, place.top + place.block / 2 + 0.5);
    free = from + 8 + look.words.width(text);
  }
}

/**
 * A tick for each pixel in which something begins that was searched for.
 * @param {CanvasRenderingContext2D} context
 * @param {Lane} lane
 * @param {Place} place
 * @param {Ink} ink
 */
function drawHits(context, lane, place, ink) {
  const scale = place.width / (place.high - place.low);
  const hits = lane.hits;
  context.fillStyle = ink.mark;
  let at = firstHit(lane, place.low);
  while (at < hits.length) {
    const start = lane.start[hits[at]];
    if (start >= place.high) return;
    const x = Math.floor((start - place.low) * scale);
    context.fillRect(place.left + x, place.top - 4, THIN, 4);
    at = firstHit(lane, place.low + (x + 1) / scale, at + 1);
  }
}

/**
 * The first place in a lane's hits that begins at a time or later.
 * @param {Lane} lane
 * @param {number} time
 * @param {number} from
 */
function firstHit(lane, time, from = 0) {
  let low = from;
  let high = lane.hits.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane.start[lane.hits[middle]] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
