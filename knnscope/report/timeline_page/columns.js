// @ts-check
// The events: bytes to columns, as pack.py wrote them, and a tree over each lane, so that what is drawn costs no more than the pixels it fills.

const FAN_BITS = 2;
const FAN = 1 << FAN_BITS; // events, or nodes, under a node of a lane's tree

/**
 * The bytes of the script block, inflated.
 * @param {string} text letters of base64
 * @returns {Promise<Uint8Array>}
 */
async function inflated(text) {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads one column after the other. Numbers above 2^53 lose their last digits, as every number of JavaScript does. */
class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  /**
   * Whole numbers from 0 up.
   * @template {Float64Array | Int32Array | Uint8Array} T
   * @param {T} column
   * @returns {T}
   */
  fill(column) {
    const bytes = this.bytes;
    let at = this.at;
    for (let i = 0; i < column.length; i++) {
      let byte = bytes[at++];
      let value = byte & 127;
      for (let power = 128; byte > 127; power *= 128) {
        byte = bytes[at++];
        value += (byte & 127) * power;
      }
      column[i] = value;
    }
    this.at = at;
    return column;
  }

  /**
   * Numbers of which differences with a sign were written.
   * @param {number} count
   */
  signedSteps(count) {
    const column = this.fill(new Float64Array(count));
    for (let i = 0, sum = 0; i < count; i++) column[i] = sum += unsigned(column[i]);
    return column;
  }

  /**
   * Numbers that do not fall; the first has a sign.
   * @param {number} count
   */
  steps(count) {
    const column = this.fill(new Float64Array(count));
    if (count) column[0] = unsigned(column[0]);
    for (let i = 1; i < count; i++) column[i] += column[i - 1];
    return column;
  }

  /**
   * Texts, a line each.
   * @param {number} size in bytes
   */
  lines(size) {
    const text = new TextDecoder().decode(this.bytes.subarray(this.at, this.at + size));
    this.at += size;
    return text.split("\n");
  }
}

/** A number that was written with its sign. @param {number} value */
function unsigned(value) {
  return value % 2 ? -(value + 1) / 2 : value / 2;
}

/** A lane: its events in order of start, in nanoseconds after the window's beginning, and what they are. */
class Lane {
  /**
   * @param {any} head what the document says of it
   * @param {number} number
   * @param {Reader} reader
   * @param {Uint8Array[]} tones of each name, as a call and as a range
   */
  constructor(head, number, reader, tones) {
    this.number = number;
    this.title = head.title;
    this.group = head.group;
    this.gpu = head.gpu;
    this.figures = head.figures;
    const count = (this.count = head.count);
    const has = head.columns.map((/** @type {number} */ size) => size > 0);
    this.start = reader.steps(count);
    this.end = reader.fill(new Float64Array(count));
    for (let i = 0; i < count; i++) this.end[i] += this.start[i];
    this.name = reader.fill(new Int32Array(count));
    this.own = has[3] ? reader.fill(new Float64Array(count)) : null;
    if (this.own) for (let i = 1; i < count; i++) this.own[i] += this.own[i - 1] + 1;
    this.call = has[4] ? reader.signedSteps(count) : null;
    this.nbytes = has[5] ? reader.fill(new Float64Array(count)) : null;
    this.memory = has[6] ? reader.fill(new Int32Array(count)) : null;
    this.toneOf = head.group === "calls" ? tones[0] : head.group === "ranges" ? tones[1] : null;
    this.tones = head.tones;
    this.hits = new Int32Array(0);
    /** @type {Float64Array[]} of each level when the last event of a node ends */
    this.ends = [this.end];
    /** @type {Float32Array[]} of each level the busy time of a node, a number a tone */
    this.busy = [new Float32Array(0)];
    this.grow();
  }

  /** The tree: of every 4 events, of every 4 of those, and so on, when the last ends and the busy time of each tone. */
  grow() {
    const tones = this.tones;
    for (let below = this.end; below.length > 1; ) {
      const level = this.ends.length;
      const count = Math.ceil(below.length / FAN);
      const ends = new Float64Array(count).fill(-Infinity);
      const busy = new Float32Array(count * tones);
      for (let i = 0; i < below.length; i++) {
        const parent = i >> FAN_BITS;
        if (below[i] > ends[parent]) ends[parent] = below[i];
        if (level === 1) busy[parent * tones + this.tone(i)] += Math.max(1, this.end[i] - this.start[i]);
        else for (let t = 0; t < tones; t++) busy[parent * tones + t] += this.busy[level - 1][i * tones + t];
      }
      this.ends.push(ends);
      this.busy.push(busy);
      below = ends;
    }
  }

  /** @param {number} i */
  tone(i) {
    return this.toneOf ? this.toneOf[this.name[i]] : 0;
  }

  /** The first event that begins at a time or later. @param {number} time */
  from(time) {
    return lower(this.start, time);
  }

  /**
   * Events of which any part lies between two times, in order of start; the last ones where there are more than wanted.
   * @param {number} low
   * @param {number} high
   * @param {number} most
   */
  near(low, high, most) {
    /** @type {number[]} */
    const found = [];
    let open = 4096; // steps: many long events may hide what is looked for, and a hand does not wait
    const visit = (/** @type {number} */ level, /** @type {number} */ from, /** @type {number} */ to) => {
      for (let i = to - 1; i >= from && found.length < most && open-- > 0; i--) {
        const start = this.start[i << (FAN_BITS * level)];
        const end = this.ends[level][i];
        if (start >= high || (end <= low && start < low && !(level && end === low))) continue;
        if (!level) found.push(i);
        else visit(level - 1, i << FAN_BITS, Math.min((i + 1) << FAN_BITS, this.ends[level - 1].length));
      }
    };
    const top = this.ends.length - 1;
    visit(top, 0, this.ends[top].length);
    return found.reverse();
  }
}

/**
 * The first place in a column in order at which a value is no smaller.
 * @param {Float64Array} column
 * @param {number} value
 */
function lower(column, value) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Everything that the document holds.
 * @param {any} head
 * @param {string} text
 */
async function unpacked(head, text) {
  const reader = new Reader(await inflated(text));
  const names = head.names.count ? reader.lines(head.names.sizes[0]) : [];
  const tones = [0, 1].map(() => reader.fill(new Uint8Array(head.names.count)));
  const lanes = head.lanes.map((/** @type {any} */ lane, /** @type {number} */ i) => new Lane(lane, i, reader, tones));
  const findings = head.findings.map((/** @type {any} */ finding) => {
    const start = reader.steps(finding.count);
    const end = reader.fill(new Float64Array(finding.count));
    for (let i = 0; i < end.length; i++) end[i] += start[i];
    return { ...finding, start, end };
  });
  return { names, lanes, findings, links: new Links(lanes, head.calls) };
}

/** Which call launched what. */
class Links {
  /**
   * @param {Lane[]} lanes
   * @param {number} calls how many there are
   */
  constructor(lanes, calls) {
    this.lanes = lanes;
    this.lane = new Int32Array(calls + 1).fill(-1);
    this.event = new Int32Array(calls + 1);
    for (const lane of lanes) {
      if (!lane.own) continue;
      for (let i = 0; i < lane.count; i++) {
        this.lane[lane.own[i] + 1] = lane.number;
        this.event[lane.own[i] + 1] = i;
      }
    }
    /** @type {Int32Array | null} */
    this.first = null;
    this.workLane = new Int32Array(0);
    this.workEvent = new Int32Array(0);
  }

  /** For each call the place of its work among all work, sorted by call; made when first asked for. */
  sort() {
    const first = new Int32Array(this.lane.length + 1);
    const work = this.lanes.filter((lane) => lane.call);
    for (const lane of work) for (const call of /** @type {Float64Array} */ (lane.call)) first[call + 1]++;
    for (let i = 1; i < first.length; i++) first[i] += first[i - 1];
    const next = first.slice();
    this.workLane = new Int32Array(first[first.length - 1]);
    this.workEvent = new Int32Array(this.workLane.length);
    for (const lane of work) {
      const calls = /** @type {Float64Array} */ (lane.call);
      for (let i = 0; i < lane.count; i++) {
        const place = next[calls[i]]++;
        this.workLane[place] = lane.number;
        this.workEvent[place] = i;
      }
    }
    this.first = first;
  }

  /**
   * The call that launched an event, as lane and number.
   * @param {Lane} lane
   * @param {number} i
   */
  caller(lane, i) {
    const call = lane.call ? lane.call[i] : 0;
    return call > 0 && this.lane[call] >= 0 ? { lane: this.lanes[this.lane[call]], i: this.event[call] } : null;
  }

  /**
   * What a call launched.
   * @param {Lane} lane
   * @param {number} i
   * @param {number} most
   */
  launched(lane, i, most) {
    if (!lane.own) return [];
    if (!this.first) this.sort();
    const first = /** @type {Int32Array} */ (this.first);
    const call = lane.own[i] + 1;
    const found = [];
    for (let at = first[call]; at < first[call + 1] && found.length < most; at++)
      found.push({ lane: this.lanes[this.workLane[at]], i: this.workEvent[at] });
    return found;
  }
}
