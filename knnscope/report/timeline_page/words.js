// @ts-check
// What is said of events, in words: durations and sizes as Python's report prints them.

/** Nanoseconds in the unit that suits them, three digits. @param {number} ns */
function duration(ns) {
  for (const [unit, size] of /** @type {[string, number][]} */ ([["s", 1e9], ["ms", 1e6], ["µs", 1e3]])) {
    if (ns >= 0.9995 * size) return `${digits(ns / size)} ${unit}`;
  }
  return `${Math.round(ns)} ns`;
}

/** Three digits, or all before the point. @param {number} value */
function digits(value) {
  return value >= 999.5 ? grouped(Math.round(value)) : value.toPrecision(3).replace(/\.$/, "");
}

/** With a comma between thousands. @param {number} value */
function grouped(value, decimals = 0) {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** Bytes in decimal units, three digits. @param {number} count */
function bytes(count) {
  for (const [unit, size] of /** @type {[string, number][]} */ ([["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])) {
    if (count >= size) return `${count < 1000 * size ? String(Number((count / size).toPrecision(3))) : grouped(Math.round(count / size))} ${unit}`;
  }
  return `${count} B`;
}

/** A share of 1. @param {number} share */
function percent(share) {
  return share >= 0.1 || share === 0 ? `${Math.round(100 * share)}%` : share >= 0.001 ? `${(100 * share).toFixed(1)}%` : "<0.1%";
}

/** The unit that suits a span, its nanoseconds. @param {number} span @returns {[string, number]} */
function unitOf(span) {
  return span >= 2e9 ? ["s", 1e9] : span >= 2e6 ? ["ms", 1e6] : ["µs", 1e3];
}

/** What is said of events. */
class Says {
  /**
   * @param {any} head
   * @param {{names: string[], lanes: Lane[], findings: any[], links: Links}} data
   */
  constructor(head, data) {
    this.head = head;
    this.data = data;
  }

  /** A block's name inside it. @param {Lane} lane @param {number} i */
  label(lane, i) {
    if (lane.nbytes) return bytes(lane.nbytes[i]);
    const name = this.name(lane, i);
    return name.startsWith(this.head.prefix) ? name.slice(this.head.prefix.length) : name;
  }

  /** @param {Lane} lane @param {number} i */
  name(lane, i) {
    return this.data.names[lane.name[i]];
  }

  /** A time since the trace's first event. @param {number} time */
  when(time) {
    const since = time + this.head.since;
    const [unit, size] = unitOf(since);
    return `${grouped(since / size, size === 1e3 ? 3 : 6)} ${unit}`;
  }

  /**
   * All that is known of an event, a line each; the first is its name.
   * @param {Lane} lane
   * @param {number} i
   */
  event(lane, i) {
    const took = lane.end[i] - lane.start[i];
    const lines = [this.name(lane, i), `${duration(took)}, from ${this.when(lane.start[i])}`, lane.title];
    if (lane.nbytes && lane.memory) {
      const kinds = this.head.memory;
      const [from, to] = [Math.floor(lane.memory[i] / this.head.kinds), lane.memory[i] % this.head.kinds].map((kind) => kinds[kind - 1]);
      const rate = took > 0 ? `, ${digits(lane.nbytes[i] / took)} GB/s` : "";
      lines.push(`${bytes(lane.nbytes[i])}${from && to ? ` from ${from} to ${to} memory` : ""}${rate}`);
    }
    const caller = this.data.links.caller(lane, i);
    if (caller) {
      const wait = lane.start[i] - caller.lane.start[caller.i];
      lines.push(`launched by ${this.name(caller.lane, caller.i)}, ${wait >= 0 ? `${duration(wait)} after that began` : `${duration(-wait)} before that, by the clocks`}`);
    }
    const work = this.data.links.launched(lane, i, ARROWS);
    if (work.length === 1) lines.push(`launched ${this.name(work[0].lane, work[0].i)}, which took ${duration(work[0].lane.end[work[0].i] - work[0].lane.start[work[0].i])}`);
    if (work.length > 1) lines.push(`launched ${work.length >= ARROWS ? `${ARROWS} or more` : work.length} pieces of work, the first ${this.name(work[0].lane, work[0].i)}`);
    const from = caller ? Math.min(caller.lane.start[caller.i], lane.start[i]) : lane.start[i];
    return [...lines, ...this.findings(from, lane.end[i], lane.gpu)];
  }

  /**
   * What is said of a pixel in which there are several events.
   * @param {Lane} lane
   * @param {number} low
   * @param {number} high
   */
  several(lane, low, high) {
    const count = lane.from(high) - lane.from(low);
    const some = lane.near(low, high, 500);
    /** @type {Map<string, number>} */
    const by = new Map();
    let busy = 0;
    for (const i of some) {
      by.set(this.name(lane, i), (by.get(this.name(lane, i)) || 0) + 1);
      busy += Math.max(0, Math.min(high, lane.end[i]) - Math.max(low, lane.start[i]));
    }
    const most = [...by].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, times]) => (times > 1 ? `${name} (${grouped(times)})` : name));
    const share = some.length < 500 ? `, ${percent(Math.min(1, busy / (high - low)))} of ${duration(high - low)}` : "";
    return [`${grouped(Math.max(count, some.length))} events here${share}`, lane.title, ...most, "zoom in to tell them apart", ...this.findings(low, high, lane.gpu)];
  }

  /**
   * The findings that count some of this time.
   * @param {number} low
   * @param {number} high
   * @param {number} gpu of the lane, or -1 of the host: then of any
   */
  findings(low, high, gpu) {
    const found = this.data.findings.filter((finding) => (gpu < 0 || gpu === finding.gpu) && touches(finding, low, high));
    return found.slice(0, 4).map((finding) => `finding: ${finding.rule} (${finding.severity}) in ${finding.phase}: ${finding.title}`);
  }

  /** A finding's own lines. @param {any} finding */
  finding(finding) {
    return [`${finding.rule} (${finding.severity})`, finding.title, `in ${finding.phase}: would save ${finding.saves}`, finding.remedy];
  }
}

/** Whether a finding counts some of a time. @param {any} finding @param {number} low @param {number} high */
function touches(finding, low, high) {
  const place = lower(finding.end, low + 1e-9);
  return place < finding.start.length && finding.start[place] < Math.max(high, low + 1);
}
