"""One pass over the codes: every row that its bound cannot exclude becomes a candidate.

For each query a heap holds the k smallest upper bounds of distances seen so far; from its top follows T. Where several threads share the rows, each takes
some, then some more, fewer each time, until none are left: who wakes up late, or shares a core, has fewer. Between two turns they tell each
other what they have found (joint.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, joint, products
from knnscope.certified.cpu.board import load, swap
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import excluded, trailing_zeros
from knnscope.certified.cpu.quantise import PANEL
from knnscope.certified.cpu.queries import BASE

BATCH = 2
"""Panels that stay in the first-level cache while the tiles of queries pass."""
MARK = (11, 32)
"""The first of ``admit``'s marks: so many times k, and so many."""
LEAST = 8
"""Panels that a thread takes at least."""
dots: Any = None
begin: Any = None
end: Any = None
"""The products of one instruction set: each compiled scan has its own, see ``PRODUCTS``."""


class State(NamedTuple):
    """What each of some threads knows of each query: all arrays have a line for each.

    heaps: float64, (..., queries, k): upper bounds of distances. squares: float64, (..., queries, room): lower bounds of candidates' |y - p|^2.
    ids: int64, alike. counts: int64, (..., queries): candidates; -1 where there was no room for all, and the query has to be answered
    otherwise.
    """

    heaps: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


class Shared(NamedTuple):
    """What the threads of a pass share.

    taken: int64, (groups of tiles, 8), a cache line each: panels that have been given out. bars: float64, (queries,): the smallest upper bound of a k-th
    distance that any of them knows. said: see joint.py.
    """

    taken: npt.NDArray[np.int64]
    bars: npt.NDArray[np.float64]
    said: npt.NDArray[np.float64]


class Memory(NamedTuple):
    """Of a pass: each item's own State, of its queries; Shared; and what is handed over of each part, of all queries."""

    own: State
    shared: Shared
    whole: State


class Part(NamedTuple):
    """What one call of a scan reads.

    first, last: panels, which it shares with others. first_tile, last_tile: tiles of queries. rows: without padding. width: query vectors in a tile.
    digits: 1 or 2 a query. widen: what rounding in the definition may multiply a distance with. item, number, group: its own number, that of its share of
    the rows, and that of its tiles.
    """

    first: int
    last: int
    first_tile: int
    last_tile: int
    rows: int
    width: int
    digits: int
    widen: float
    item: int = 0
    number: int = 0
    group: int = 0


class Own(NamedTuple):
    """This thread's own memory for its queries: lines of the shared state are in another processor's cache.

    out: int32, (vectors, rows at once): products of a tile. masks: a bit for each row that the test left in, a line a query of the tile.
    bars: float64, the largest of the k smallest upper bounds. slopes, limits: float32, C and V. marks: int64, candidates at which those
    that a smaller T excludes are dropped: few, since what is written leaves the cache with every pass; more where they do not go.
    kept: State.
    """

    out: Any
    masks: Any
    bars: npt.NDArray[np.float64]
    slopes: npt.NDArray[np.float32]
    limits: npt.NDArray[np.float32]
    marks: npt.NDArray[np.int64]
    kept: State


class Spot(NamedTuple):
    """Rows that the test left in: query, its number among all; own, among this thread's; place, in the tile; row0, the mask's first row."""

    query: int
    own: int
    place: int
    row0: int


@compiled(inline=True)
def replace_top(heaps: Any, query: int, item: float) -> None:
    """Put a smaller value in the place of the largest of a query's heap."""
    place, size = 0, heaps.shape[1]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heaps[query, child + 1] > heaps[query, child]:
            child += 1
        if heaps[query, child] <= item:
            break
        heaps[query, place] = heaps[query, child]
        place = child
    heaps[query, place] = item


@compiled()
def _compact(kept: Any, own: int, errors: Any, e_q: float, bar: float) -> int:
    """Keep those of a query's candidates that a smaller bar leaves."""
    squares, ids, left = kept.squares, kept.ids, 0
    for i in range(kept.counts[own]):
        if bounds.lower(squares[own, i], errors[ids[own, i]], e_q) <= bar:
            squares[own, left] = squares[own, i]
            ids[own, left] = ids[own, i]
            left += 1
    return left


@compiled(inline=True)
def _tighten(bar: float, spot: Any, asked: Any, widen: float, mine: Any) -> None:
    """A smaller T."""
    mine.bars[spot.own] = bar
    a = bounds.reach(bar, widen, asked.blurs[spot.query]) + asked.errors[spot.query] * bounds.WIDEN
    mine.slopes[spot.own] = bounds.coefficient(a)
    mine.limits[spot.own] = bounds.limit(a, asked.lengths2[spot.query])


@compiled(inline=True)
def admit(mask: int, spot: Any, part: Any, coded: Any, asked: Any, allowed: Any, mine: Any) -> None:
    """Rows that the test left in become candidates of a query, and T shrinks.

    Args:
        mask: a bit for each row from ``spot.row0`` on.
        spot: Spot.
        part: Part.
        coded: quantise.Coded.
        asked: queries.EncodedQueries.
        allowed: bool, (0 or 1 or queries, rows): rows that may be answers; (0, rows) for all.
        mine: Own.
    """
    query, own, kept = spot.query, spot.own, mine.kept
    heaps, squares, ids, counts = kept.heaps, kept.squares, kept.ids, kept.counts
    out, bars, limits, marks = mine.out, mine.bars, mine.limits, mine.marks
    scales, errors, terms = coded.scales, coded.errors, coded.terms
    p2, e_q, step = asked.lengths2[query], asked.errors[query], np.float64(asked.steps[query]) * 0.5
    room, digits, place = ids.shape[1], part.digits, spot.place
    while mask:
        r = trailing_zeros(mask)
        mask &= mask - 1
        row = spot.row0 + r
        if row >= part.rows:
            break
        if allowed.shape[0] and not allowed[min(query, allowed.shape[0] - 1), row]:
            continue
        dot = np.float64(out[digits * place, r])
        if digits == 2:
            dot = BASE * dot + np.float64(out[2 * place + 1, r])
        e = np.float64(errors[row])
        least, most = bounds.squares(terms[row], e, p2, np.float64(scales[row]) * step * dot)
        now = counts[own]
        if now == marks[own]:
            bar = bounds.reach(bars[own], part.widen, asked.blurs[query])
            now = _compact(kept, own, errors, e_q, bar)
            if 2 * now > marks[own]:
                marks[own] = min(2 * marks[own], room)
            if 4 * now > 3 * room:
                counts[own] = -1
                limits[own] = np.float32(-np.inf)
                break
        squares[own, now] = least
        ids[own, now] = row
        counts[own] = now + 1
        near = bars[own] - (e + e_q) * bounds.WIDEN
        if near > 0 and most < near * near:
            replace_top(heaps, own, bounds.upper(most, e, e_q))
            if heaps[own, 0] < bars[own]:
                _tighten(heaps[own, 0], spot, asked, part.widen, mine)


@compiled()
def prepared(out: Any, masks: Any, asked: Any, low: int, part: Any, memory: Any) -> Any:
    """Own of the queries from ``low`` on: nothing found, T infinite; those that are far keep no row."""
    own_state, item, each = memory.own, part.item, part.width // part.digits
    size = (part.last_tile - part.first_tile) * each
    kept = State(
        own_state.heaps[item, :size],
        own_state.squares[item, :size],
        own_state.ids[item, :size],
        own_state.counts[item, :size],
    )
    limits = np.empty(size, dtype=np.float32)
    kept.heaps[:] = np.inf
    for own in range(size):
        far = asked.far[low + own]
        kept.counts[own] = -1 if far else 0
        limits[own] = np.float32(-np.inf if far else np.inf)
    mark = min(MARK[0] * kept.heaps.shape[1] + MARK[1], kept.ids.shape[1])
    marks = np.full(size, mark, dtype=np.int64)
    return Own(out, masks, np.full(size, np.inf), np.zeros(size, dtype=np.float32), limits, marks, kept)


@compiled()
def _taken(taken: Any, part: Any, parts: int) -> tuple[int, int]:
    """The next panels that nobody has taken: all where there is one part, else fewer each time."""
    at = taken.ctypes.data + 8 * taken.shape[1] * part.group
    while True:
        done = load(at)
        left = part.last - part.first - done
        if left <= 0:
            return part.last, part.last
        some = left if parts == 1 else min(left, max(LEAST, left // (2 * parts) // BATCH * BATCH))
        if swap(at, done, done + some):
            return part.first + done, part.first + done + some


@compiled(apart=True)
def _heard(mine: Any, low: int, turn: int, part: Any, asked: Any, shared: Any) -> None:
    """What all threads know of their queries by now; each speaks after its first turn, its second, its fourth, and so on."""
    bars, said = shared.bars, shared.said
    speaks = said.shape[2] > 0 and turn & (turn - 1) == 0
    for own in range(mine.bars.shape[0]):
        query = low + own
        if mine.kept.counts[own] < 0:
            continue
        bar = min(bars[query], mine.bars[own])
        if speaks:
            if turn > 0:
                joint.say(said, part.number, query, mine.kept.heaps[own])
            bar = min(bar, joint.known(said, query))
        if bar < bars[query]:
            bars[query] = bar
        if bar < mine.bars[own]:
            _tighten(bar, Spot(query, own, 0, 0), asked, part.widen, mine)


@compiled(inline=True)
def following(mine: Any, low: int, turn: int, part: Any, asked: Any, memory: Any) -> tuple[int, int]:
    """The panels of a thread's next turn, from 0 on; none where the first is the last."""
    shared = memory.shared
    if shared.said.shape[0] > 1:
        _heard(mine, low, turn, part, asked, shared)
    return _taken(shared.taken, part, shared.said.shape[0])


@compiled()
def hand_over(mine: Any, low: int, coded: Any, asked: Any, part: Any, memory: Any) -> None:
    """What is left of a thread's candidates of the queries from ``low`` on, by the smallest T that it knows; ``memory.whole`` is written."""
    every, number, widen = memory.whole, part.number, part.widen
    state = State(every.heaps[number], every.squares[number], every.ids[number], every.counts[number])
    squares, ids, counts, heaps, errors = (
        mine.kept.squares,
        mine.kept.ids,
        mine.kept.counts,
        mine.kept.heaps,
        coded.errors,
    )
    to_squares, to_ids, to_heaps = state.squares, state.ids, state.heaps
    for query in range(low, min(low + counts.shape[0], state.counts.shape[0])):
        own, left, e_q = query - low, 0, asked.errors[query]
        bar = bounds.reach(mine.bars[own], widen, asked.blurs[query])
        for i in range(counts[own]):
            square, row = squares[own, i], ids[own, i]
            if bounds.lower(square, errors[row], e_q) <= bar:
                to_squares[query, left], to_ids[query, left] = square, row
                left += 1
        state.counts[query] = min(left, counts[own])  # -1 stays
        for place in range(heaps.shape[1]):
            to_heaps[query, place] = heaps[own, place]


@compiled()
def lines16(count: int, rows: int) -> Any:
    """int32, (count, rows), from a cache line on."""
    raw = np.empty(rows * count + 16, dtype=np.int32)
    skip = (-raw.ctypes.data % 64) // 4
    return raw[skip : skip + rows * count].reshape(count, rows)


def _scan(coded: Any, asked: Any, allowed: Any, memory: Any, part: Any) -> None:
    """Scan some panels for the queries of some tiles.

    Args:
        coded: quantise.Coded.
        asked: queries.EncodedQueries.
        allowed: see ``admit``.
        memory: Memory, written.
        part: Part.
    """
    count, digits, tiles = part.width, part.digits, part.last_tile - part.first_tile
    each = count // digits
    low = part.first_tile * each
    mine = prepared(lines16(count, PANEL), np.zeros(each, dtype=np.uint32), asked, low, part, memory)
    out, masks = mine.out, mine.masks.ctypes.data
    scales, errors, terms = coded.scales.ctypes.data, coded.errors.ctypes.data, coded.terms.ctypes.data
    steps, slopes, limits = asked.steps.ctypes.data, mine.slopes.ctypes.data, mine.limits.ctypes.data
    lines = (16 + tiles - 1) // tiles
    turn = 0
    first, last = following(mine, low, turn, part, asked, memory)
    begin()
    while first < last:
        for panels in range(first, last, BATCH):
            for tile in range(tiles):
                base, ahead = tile * each, tile * lines
                for panel in range(panels, min(panels + BATCH, last)):
                    row0 = panel * PANEL
                    soon = (ahead, min(lines, max(0, 16 - ahead)))
                    dots(count, coded.codes, panel * 2, (asked.packed, asked.biases), part.first_tile + tile, soon, out)
                    rows = (scales + 4 * row0, errors + 4 * row0, terms + 4 * row0)
                    queries = (steps + 4 * (low + base), slopes + 4 * base, limits + 4 * base)
                    some = excluded((out.ctypes.data, count, digits), rows, queries, masks)
                    while some:
                        place = trailing_zeros(some)
                        some &= some - 1
                        spot = Spot(low + base + place, base + place, place, row0)
                        admit(np.int64(mine.masks[place]), spot, part, coded, asked, allowed, mine)
        turn += 1
        first, last = following(mine, low, turn, part, asked, memory)
    end()
    hand_over(mine, low, coded, asked, part, memory)


PRODUCTS = {
    "amx": {"dots": products.amx, "begin": products.begin_amx, "end": products.end_amx},
    "vnni": {"dots": products.vnni, "begin": products.nothing, "end": products.nothing},
    "avx2": {"dots": products.avx2, "begin": products.nothing, "end": products.nothing},
    "portable": {"dots": products.portable, "begin": products.nothing, "end": products.nothing},
}
"""Of each instruction set."""
SCANS = {isa: specialised(_scan, f"scan_{isa}", apart=True, **given) for isa, given in PRODUCTS.items()}
