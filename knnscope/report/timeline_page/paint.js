// @ts-check
// Lanes on a canvas. As in the pictures: what is a pixel and wider is a block; of what is narrower, a pixel is dark as high as the share of
// its time that is covered, in the tone of most of it.

const THIN = 2; // pixels of a block's width at least
const SEEN = 3; // pixels of a dark part's height at least
const LARGE = 5; // pixels from which on a block is drawn by itself
const SEAM = 0.75; // pixels between one and the next
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
    this.ground = scheme ? "#14171c" : "#ffffff";
    this.ink = scheme ? "#e8eaed" : "#1b1b1b";
    this.quiet = scheme ? "#a5abb3" : "#5c5c5c";
    this.grid = scheme ? "#2c323a" : "#dcdcdc";
    this.mark = scheme ? "#ffd54a" : "#b3005e";
    this.focus = scheme ? "#3a3318" : "#fff3c4";
    /** @type {Record<string, {full: string, text: string, fullWord: number, paleWord: number}[]>} */
    this.of = {};
    for (const group of Object.keys(head.colours)) {
      this.of[group] = head.colours[group].map((/** @type {any} */ colour) => {
        const full = scheme ? colour.dark : colour.light;
        const pale = mixed(full, this.ground, head.pale);
        return { full, text: brightness(full) > 0.18 ? "#1b1b1b" : "#ffffff", fullWord: word(full), paleWord: word(pale) };
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

/** A colour as the four bytes of a pixel. @param {string} colour */
function word(colour) {
  const bytes = new Uint8Array([1, 3, 5, 0].map((i) => (i ? parseInt(colour.slice(i, i + 2), 16) : 255)));
  return new Uint32Array(bytes.buffer)[0];
}

/** Relative luminance, as WCAG has it. @param {string} colour */
function brightness(colour) {
  const parts = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255);
  const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Where a lane is drawn, and which times its left and right edge are. @typedef {{left: number, top: number, width: number, block: number, low: number, high: number}} Place */

/** Pixels of lanes, made number by number: to fill a rectangle for each takes a canvas ten times as long. */
class Pixels {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { willReadFrequently: true }));
    /** @type {Float64Array[]} */
    this.busy = [];
    this.words = new Uint32Array(0);
  }

  /**
   * Room for so many lanes, one below the other.
   * @param {number} lanes
   * @param {number} width
   * @param {number} block
   */
  begin(lanes, width, block) {
    const height = Math.max(1, lanes * block);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.image = this.context.createImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
    } else this.words.fill(0);
  }

  /** What was made, ready to be drawn. */
  end() {
    if (this.image) this.context.putImageData(this.image, 0, 0);
  }

  /**
   * Look at a lane's part of the view and make its pixels, as the lane with this number of those seen.
   * Nodes of its tree that are narrower than a pixel are not opened.
   * @param {Lane} lane
   * @param {Place} place
   * @param {Ink} ink
   * @param {number} row
   * @returns {number[]} the events that are a pixel and wider, in order of start
   */
  make(lane, place, ink, row) {
    const { low, high, width } = place;
    const { tones, start: starts } = lane;
    const scale = width / (high - low);
    while (this.busy.length < tones) this.busy.push(new Float64Array(0));
    for (let t = 0; t < tones; t++) {
      if (this.busy[t].length < width + 1) this.busy[t] = new Float64Array(width + 1);
      else this.busy[t].fill(0);
    }
    const columns = this.busy;
    /** @type {number[]} */
    const wide = [];
    let covered = -Infinity; // what wide events fill without a gap, up to here
    // busy time between two times less than a pixel apart, spread evenly; the last column is for what lies outside
    const add = (/** @type {number} */ tone, /** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ share) => {
      const column = columns[tone];
      const first = Math.floor(from);
      const before = to > first + 1 ? (first + 1 - from) / (to - from) : 1;
      if (first >= 0 && first < width) column[first] += share * before;
      if (before < 1 && first + 1 < width) column[first + 1] += share * (1 - before);
    };
    const visit = (/** @type {number} */ level, /** @type {number} */ from, /** @type {number} */ to) => {
      const ends = lane.ends[level];
      const shift = FAN_BITS * level;
      for (let i = from; i < to; i++) {
        const start = starts[i << shift];
        if (start >= high) return;
        const end = ends[i];
        if (end < low || (end === low && start < low)) continue;
        const long = (end - start) * scale;
        if (long >= 1) {
          if (wide.length > 4 * width && end <= covered) continue; // hidden behind those that overlap it
          if (level) visit(level - 1, i << FAN_BITS, Math.min((i + 1) << FAN_BITS, lane.ends[level - 1].length));
          else {
            wide.push(i);
            if (end > covered) covered = end;
          }
          continue;
        }
        const x = (start - low) * scale;
        if (!level) add(lane.tone(i), x, x + long, Math.max(1, end - start) * scale);
        else if (tones === 1) add(0, x, x + long, lane.busy[level][i] * scale);
        else {
          for (let t = 0; t < tones; t++) {
            const busy = lane.busy[level][i * tones + t];
            if (busy) add(t, x, x + long, busy * scale);
          }
        }
      }
    };
    const top = lane.ends.length - 1;
    visit(top, 0, lane.ends[top].length);
    this.fill(lane, place, ink, row, wide);
    return wide;
  }

  /**
   * @param {Lane} lane
   * @param {Place} place
   * @param {Ink} ink
   * @param {number} row
   * @param {number[]} wide
   */
  fill(lane, place, ink, row, wide) {
    const { width, block, low, high } = place;
    const { words } = this;
    const colours = ink.of[lane.group];
    const first = row * block * width;
    const last = first + block * width;
    for (let x = 0; x < width; x++) {
      let sum = 0;
      let most = 0;
      for (let t = 0; t < lane.tones; t++) {
        sum += this.busy[t][x];
        if (this.busy[t][x] > this.busy[most][x]) most = t;
      }
      if (sum === 0) continue;
      const dark = Math.min(block, Math.max(SEEN, Math.round(sum * block)));
      const edge = last - dark * width;
      const { paleWord, fullWord } = colours[most];
      for (let at = first + x; at < edge; at += width) words[at] = paleWord;
      for (let at = edge + x; at < last; at += width) words[at] = fullWord;
    }
    const scale = width / (high - low);
    for (const i of wide) {
      const from = Math.round((lane.start[i] - low) * scale);
      const to = Math.round((lane.end[i] - low) * scale);
      if (to - from > LARGE) continue;
      const word = colours[lane.tone(i)].fullWord;
      for (let x = Math.max(0, from); x < Math.min(width, Math.max(to, from + THIN)); x++) {
        for (let at = first + x; at < last; at += width) words[at] = word;
      }
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Lane} lane
   * @param {Place} place
   * @param {{ink: Ink, row: number, wide: number[]}} how
   */
  draw(context, lane, place, { ink, row, wide }) {
    const { left, top, block, width } = place;
    context.drawImage(this.canvas, 0, row * block, width, block, left, top, width, block);
    const scale = width / (place.high - place.low);
    let last = -1;
    for (const i of wide) {
      const [before, after] = [(lane.start[i] - place.low) * scale, (lane.end[i] - place.low) * scale];
      if (Math.round(after) - Math.round(before) <= LARGE) continue;
      const from = Math.max(0, before);
      const tone = lane.tone(i);
      if (tone !== last) context.fillStyle = ink.of[lane.group][tone].full;
      last = tone;
      context.fillRect(left + from + SEAM, top, Math.min(width, after) - from - SEAM, block);
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
