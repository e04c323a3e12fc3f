"""Some rows for a query or for several, each with its own: looked at by their byte codes in lines, or computed."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, lines
from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.heaps import further, sink
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions, trailing_zeros
from knnscope.certified.cpu.ranking import (
    CHANGED,
    Asked,
    Near,
    Scale,
    finish_heap,
    keys_of,
    length_of,
    margin,
    nearest,
    new_pool,
)
from knnscope.certified.cpu.scan import replace_top

CHUNK = 256
"""Rows that are looked at for all queries before the next: their lines and the next ones' stay in the second-level cache."""
ROOM = (16, 256)
"""Rows that T may leave of a query, so many times k, and so many."""
AHEAD = lines.AHEAD
LAST = -(1 << 63)
"""The last of 64 bits."""
dot: Any = None
look: Any = None
"""Products of a line, and ``_look`` with them: ``forms`` gives each instruction set its own."""


@instructions
def _set(emit: Emit, address: Any) -> Any:
    """A bit for each of 64 truth values."""
    b = emit.builder
    values = emit.load(T.BYTES, address)
    return b.bitcast(b.icmp_unsigned("!=", values, ir.Constant(T.BYTES, [0] * 64)), T.I64)


@compiled(apart=True)
def listed(mask: Any, rows: Any) -> int:
    """Rows that a mask allows: how many, or -1 where there are more than there is room for; ``rows``, int32, is written."""
    place, end, room = 0, mask.shape[0] // 64 * 64, rows.shape[0]
    for first in range(0, end, 64):
        bits = _set(mask.ctypes.data + first)
        if place + 64 > room:
            if bits:
                return -1
            continue
        for _ in range(2):  # few rows are allowed: whether there is one is not for a branch to guess
            rows[place] = first + trailing_zeros(bits | LAST)
            place += bits != 0
            bits &= bits - 1
        while bits:
            rows[place] = first + trailing_zeros(bits)
            bits &= bits - 1
            place += 1
    for row in range(end, mask.shape[0]):
        if mask[row]:
            if place == room:
                return -1
            rows[place] = row
            place += 1
    return place


class Seen(NamedTuple):
    """What is known of some queries.

    heaps: float64, (queries, k): upper bounds of distances. lows, highs, rows: float64, float64 and int64, (queries, room): rows that T leaves,
    with bounds of their distances. counts: int64, (queries, 2): of these, -1 where there was no room, and of allowed rows. bars, slopes,
    limits: float64, (queries,): T, C and V.
    """

    heaps: npt.NDArray[np.float64]
    lows: npt.NDArray[np.float64]
    highs: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    bars: npt.NDArray[np.float64]
    slopes: npt.NDArray[np.float64]
    limits: npt.NDArray[np.float64]


@compiled()
def _new_seen(queries: int, k: int, room: int) -> Any:
    """Nothing seen."""
    heaps, lows, highs = np.full((queries, k), np.inf), np.empty((queries, room)), np.empty((queries, room))
    rows, counts = np.empty((queries, room), dtype=np.int64), np.zeros((queries, 2), dtype=np.int64)
    return Seen(heaps, lows, highs, rows, counts, np.full(queries, np.inf), np.zeros(queries), np.full(queries, np.inf))


@compiled()
def _compacted(seen: Any, own: int) -> int:
    """Drop what a smaller T excludes: how many rows are left."""
    left = 0
    for i in range(seen.counts[own, 0]):
        if seen.lows[own, i] <= seen.bars[own]:
            seen.lows[own, left], seen.highs[own, left], seen.rows[own, left] = (
                seen.lows[own, i], seen.highs[own, i], seen.rows[own, i],
            )  # fmt: skip
            left += 1
    return left


def _look(near: Any, places: Any, asked: Any, who: tuple[int, int], widen: float, seen: Any) -> None:
    """Look at the lines of some rows: the test of bound.py in float64, and bounds of what it leaves.

    Args:
        near: lines, see lines.py.
        places: int32: the rows.
        asked: EncodedQueries of ``lines.write_lines``.
        who: the query's number there, and in ``seen``.
        widen: see ranking.Table.
        seen: Seen, written.
    """
    (query, own), count = who, places.shape[0]
    sides, base, stride, width = near.view(np.float32), near.ctypes.data, near.shape[1], asked.packed.shape[1]
    e_q, p2, step = asked.errors[query], asked.lengths2[query], np.float64(asked.steps[query]) * 0.5
    vector, last = asked.packed.ctypes.data + 2 * query * width, count - 1
    for i in range(min(count, AHEAD)):
        lines.ask_ahead(near, places[i])
    for i in range(count):
        row, then = places[i], places[min(i + AHEAD, last)]
        whole = dot(base + row * stride + lines.HEAD, vector, width // lines.STEP, base + then * stride)
        product = np.float64(sides[row, 0]) * step * np.float64(whole)
        e, term = np.float64(sides[row, 1]), sides[row, 2]
        if np.float64(term) - 2 * product - seen.slopes[own] * e > seen.limits[own] or seen.counts[own, 0] < 0:
            continue
        least, most = bounds.squares(term, e, p2, product)
        low, high = bounds.lower(least, e, e_q), bounds.upper(most, e, e_q)
        if low <= seen.bars[own]:
            if seen.counts[own, 0] == seen.lows.shape[1]:
                left = _compacted(seen, own)
                seen.counts[own, 0] = left if 4 * left <= 3 * seen.lows.shape[1] else -1
            now = seen.counts[own, 0]
            if now >= 0:
                seen.lows[own, now], seen.highs[own, now], seen.rows[own, now] = low, high, row
                seen.counts[own, 0] = now + 1
            if high < seen.heaps[own, 0]:
                replace_top(seen.heaps, own, high)
                if seen.heaps[own, 0] < np.inf:
                    bar = bounds.reach(seen.heaps[own, 0], widen, asked.blurs[query])
                    a = bar + e_q * bounds.WIDEN
                    seen.bars[own], seen.slopes[own] = bar, np.float64(bounds.coefficient(a))
                    seen.limits[own] = np.float64(bounds.limit(a, p2))


@compiled(apart=True)
def _finish(table: Any, asked: Any, vector: Any, query: int, own: int, seen: Any, answers: Any) -> None:
    """Answer a query; its candidates stay -1 where there was no room."""
    if seen.counts[own, 0] < 0:
        return
    near, count = _compacted(seen, own), seen.counts[own, 1]
    ids, values, k = answers.ids[query], answers.values[query], answers.ids.shape[1]
    scale = Scale(asked.bases[query], asked.gains[query], asked.blurs[query])
    ranked = Asked(vector, length_of(vector), scale, new_pool(), np.inf, np.inf)
    some = Near(seen.rows[own, :near], seen.lows[own, :near], seen.highs[own, :near])
    done, rest = nearest(table, some, ranked, ids, values)
    answers.candidates[query], answers.computed[query], answers.margins[query] = near, done, np.inf
    if done != CHANGED and done < count:
        answers.margins[query] = margin(values[k - 1], min(rest, seen.bars[own]), scale, table.metric)


def _by_list(table: Any, near: Any, asked: Any, rows: Any, one: Any, answers: Any) -> None:
    """Answer a query from some rows only.

    Args:
        table: ranking.Table.
        near: lines, see lines.py.
        asked: EncodedQueries of ``lines.write_lines``.
        rows: int32: those that may be answers.
        one: the query, float64, (dim,); its number.
        answers: ranking.Answers, written.
    """
    vector, query = one
    k, count = answers.ids.shape[1], rows.shape[0]
    seen = _new_seen(1, k, min(count + count // 2 + 1, ROOM[0] * k + ROOM[1] + count // 4))
    look(near, rows, asked, (query, 0), table.widen, seen)
    seen.counts[0, 1] = count
    _finish(table, asked, vector, query, 0, seen, answers)


def _by_lists(table: Any, near: Any, asked: Any, given: Any, part: Any, answers: Any) -> None:
    """Answer queries that have a list each: rows pass once, those that are next are asked for while these are looked at.

    Args:
        table: ranking.Table.
        near: lines, see lines.py.
        asked: EncodedQueries of ``lines.write_lines``.
        given: queries, float64, (queries, dim); lists, int32, (queries, room); how many each has.
        part: queries to answer, from the first up to the last.
        answers: ranking.Answers, written.
    """
    (queries, lists, counts), (first, last) = given, part
    k, count, rows = answers.ids.shape[1], last - first, near.shape[0]
    seen, ends = _new_seen(count, k, ROOM[0] * k + ROOM[1]), np.zeros((2, count), dtype=np.int64)
    for begin in range(-CHUNK, rows, CHUNK):
        soon = begin + 2 * CHUNK
        for own in range(count):
            query, place, end = first + own, ends[0, own], ends[1, own]
            then = end
            while then < counts[query] and lists[query, then] < soon:
                lines.ask_ahead(near, lists[query, then])
                then += 1
            ends[0, own], ends[1, own] = end, then
            if end > place and not asked.far[query]:
                look(near, lists[query, place:end], asked, (query, own), table.widen, seen)
    for own in range(count):
        seen.counts[own, 1] = counts[first + own]
        if not asked.far[first + own]:
            _finish(table, asked, queries[first + own], first + own, own, seen, answers)


@compiled(apart=True)
def by_rows(table: Any, rows: Any, one: Any, answers: Any) -> None:
    """As ``_by_lines``, by computing all of the rows; computed is -1 where a value is not a number."""
    vector, number = one
    ids, values, k, count = answers.ids[number], answers.values[number], answers.ids.shape[1], rows.shape[0]
    ids[:], values[:] = np.iinfo(np.int64).max, np.inf
    pool, length = new_pool(), length_of(vector)
    for first in range(0, count, TOGETHER):
        some = min(TOGETHER, count - first)
        for i in range(TOGETHER):
            pool.places[i] = rows[first + min(i, some - 1)]
        if first + TOGETHER < count:
            for i in range(first + TOGETHER, min(first + 2 * TOGETHER, count)):
                lines.ask_ahead(table.rows, rows[i])
        keys_of(table, vector, length, pool)
        for i in range(some):
            key, name = pool.keys[i], pool.places[i]
            if table.names.shape[0]:
                name = table.names[name]
            if np.isnan(key):
                answers.computed[number] = -1
            elif further(values[0], ids[0], key, name):
                sink(values, ids, k, key, name)
    finish_heap(ids, values, min(k, count), table.metric)
    answers.margins[number], answers.candidates[number] = np.inf, count
    if answers.computed[number] >= 0:
        answers.computed[number] = count


class Forms(NamedTuple):
    """Compiled for one instruction set: ``_by_list`` and ``_by_lists``."""

    by_list: Any
    by_lists: Any


@cache
def forms(isa: str) -> Forms:
    """What an instruction set has; compiled when it is first called."""
    one = specialised(_look, f"allowed_look_{isa}", dot=lines.product(isa)[0])
    # of several queries the lines have been asked for before
    several = specialised(_look, f"allowed_look_several_{isa}", dot=lines.product(isa)[0], AHEAD=0)
    return Forms(
        specialised(_by_list, f"allowed_list_{isa}", apart=True, look=one),
        specialised(_by_lists, f"allowed_lists_{isa}", apart=True, look=several),
    )
