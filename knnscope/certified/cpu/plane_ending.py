"""Answers of queries when all rows have passed: of those that V left the nearest are computed, then all else goes to its byte codes.

One query goes through its own rows. Where many do, each line would come from memory once for each of them, for 60 to 70 ns; so they go through their
lists together, which are in the order of rows: chunk after chunk, whose lines the first of them has brought into the second-level cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.lines import ahead, ask_ahead
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_ranking import (
    WITHOUT,
    Line,
    admitted,
    emptied,
    first_rows,
    limit_beyond,
    list_of,
    narrow,
    new_line,
    next_rows,
    one_again,
    one_of,
    probed,
)
from knnscope.certified.cpu.ranking import CHANGED, Pool, length_of, new_pool

CHUNK = 256
"""Rows that all queries pass before the next: their lines and the next ones' stay in the second-level cache."""
APART = 16
"""Queries up to which each goes through its own rows, if these are few."""
evaluate: Any = None
evaluate_near: Any = None
"""The bounds of lines.py, and the same without asking ahead: ``plane_search.forms`` gives each instruction set its own."""
begun: Any = None
finish: Any = None
one_ended: Any = None
each_ended: Any = None
"""``_begun``, ``_finish``, ``_one_ended`` and ``_each_ended``, likewise."""


class Many(NamedTuple):
    """Queries that go together.

    places, lowers, uppers: int64, float64 and float64, (queries, 16): rows that wait for the definition. counts, rests: int64 and float64,
    (queries, 3) and (queries, 2): see plane_ranking.Line. ends: int64, (queries,): the place in its list up to which a query has asked for lines.
    lengths: float64, (queries,). is_going: bool, (queries,): whether it is to be answered, and nothing went wrong.
    """

    places: npt.NDArray[np.int64]
    lowers: npt.NDArray[np.float64]
    uppers: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    rests: npt.NDArray[np.float64]
    ends: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.float64]
    is_going: npt.NDArray[np.bool_]


@compiled()
def _new_many(count: int) -> Any:
    return Many(
        np.zeros((count, TOGETHER), dtype=np.int64),
        np.empty((count, TOGETHER)),
        np.empty((count, TOGETHER)),
        np.zeros((count, 3), dtype=np.int64),
        np.empty((count, 2)),
        np.zeros(count, dtype=np.int64),
        np.empty(count),
        np.zeros(count, dtype=np.bool_),
    )


def _opened(own: int, count: int, seen: Any, asked: Any, some: Any, ground: Any) -> None:
    """Begin a query whose bounds are all known: its fresh rows are computed before any row joins its list, which is a quarter shorter then.

    Args:
        own: its number among those of ``seen``.
        count: of fresh rows.
        seen: Seen.
        asked: its components, its number, and the part's.
        some: plane_scan.Rows; the bounds of fresh rows become infinite, so that these are not met again.
        ground: Ground, whose Kept is written.
    """
    vector, query, part = asked
    if not count:
        return
    places, found, kept = seen.fresh[own], seen.found, ground.kept
    evaluate(ground.lines, places, count, ground.near, query, found)
    narrow(own, query, seen, count, ground)
    one = one_of(vector, query, ground, part, new_pool())
    kept.computed[part, query], kept.rests[part, query] = first_rows(one, places, count, found, ground)
    if kept.computed[part, query] == CHANGED:
        seen.counts[own, 0] = -1
        return
    kept.bars[query] = min(kept.bars[query], one.keys[0])
    seen.limits[own] = min(min(seen.limits[own], limit_beyond(kept.bars[query], query, ground)), WITHOUT)
    for i in range(count):
        some.values[places[i] - some.row0] = np.inf


def _begun(own: int, one: Any, seen: Any, line: Any, ground: Any) -> bool:
    """Compute the rows with the smallest bounds, where that has not been done; False where one is not as it was."""
    line.counts[0], line.counts[1], line.rests[0] = 0, 0, np.inf
    if line.counts[2] >= 0:
        return True
    places, found = seen.fresh[own], seen.found
    count = probed(seen, own, places)
    evaluate(ground.lines, places, count, ground.near, one.number, found)
    done, line.rests[1] = first_rows(one, places, count, found, ground)
    line.counts[2] = done
    if done == CHANGED:
        return False
    bars = ground.kept.bars
    bars[one.number] = min(bars[one.number], one.keys[0])
    return True


@compiled()
def _answered(one: Any, line: Any, ground: Any) -> int:
    """How many rows were computed, or ranking.CHANGED."""
    if not emptied(one, line, ground):
        return CHANGED
    bars = ground.kept.bars
    bars[one.number] = min(bars[one.number], one.keys[0])
    return int(line.counts[2])


def _finish(own: int, one: Any, seen: Any, line: Any, ground: Any) -> int:
    """Answer a query by itself: see ``_answered``."""
    if not begun(own, one, seen, line, ground):
        return CHANGED
    while line.counts[0] < seen.counts[own, 0]:
        count = next_rows(seen, own, one, line, ground.lines.shape[0], ground)
        evaluate(ground.lines, line.places, count, ground.near, one.number, line.found)
        if not admitted(one, line, count, ground):
            return CHANGED
    return int(_answered(one, line, ground))


@compiled()
def _rest(own: int, one: Any, seen: Any, line: Any, ground: Any) -> float:
    """A key below that of every row that was not computed."""
    asked, scale, number = ground.asked, one.asked.scale, one.number
    low, rest = min(line.rests[0], np.float64(seen.limits[own])), np.inf
    if low < np.inf:
        rest = plane_bounds.least(low, asked.alphas[number], asked.betas[number])
    lower = line.rests[1]
    if lower < np.inf:
        rest = min(rest, (lower * lower - scale.base) / abs(scale.gain))
    return rest


def _one_ended(own: int, query: int, part: int, seen: Any, vector: Any, ground: Any) -> None:
    """Answer a query by the rows of a part that V left: see Kept."""
    line, kept = new_line(), ground.kept
    line.counts[2], line.rests[1] = kept.computed[part, query], kept.rests[part, query]
    one = one_of(vector, query, ground, part, new_pool())
    kept.computed[part, query] = finish(own, one, seen, line, ground)
    kept.rests[part, query] = _rest(own, one, seen, line, ground)


def _each_ended(low: int, high: int, part: tuple[int, int, int], seen: Any, queries: Any, ground: Any) -> None:
    """Answer some queries, one after another; those without a list are left out. See ``_together_ended``."""
    for query in range(low, high):
        if seen.counts[query - low, 0] >= 0:
            one_ended(query - low, query, part[0], seen, queries[query], ground)


@compiled(inline=True)
def _of(many: Any, own: int, line: Any, pool: Any) -> tuple[Any, Any]:
    """Line and Pool of one of them."""
    places, lowers, uppers = many.places[own], many.lowers[own], many.uppers[own]
    return (
        Line(line.places, line.found, many.counts[own], many.rests[own]),
        Pool(places, pool.own, pool.addresses, pool.keys, pool.norms, lowers, uppers),
    )


@compiled()
def _ask_lines(lines: Any, first: int, last: int) -> None:
    """Ask for some lines that follow each other."""
    size = lines.shape[1] * lines.itemsize
    ahead(lines.ctypes.data + first * size, ((last - first) * size + 63) // 64)


@compiled()
def _ask_listed(seen: Any, own: int, place: int, end: int, lines: Any) -> int:
    """Ask for the lines of a query's list from a place on, of those before row ``end``: the place of the first that is not."""
    _, rows = list_of(seen, own)
    while place < seen.counts[own, 0] and rows[place] < end:
        ask_ahead(lines, rows[place])
        place += 1
    return place


def _together_ended(low: int, high: int, part: tuple[int, int, int], seen: Any, queries: Any, ground: Any) -> None:
    """Answer some queries, many of them side by side.

    Args:
        low: the first query.
        high: the one after the last.
        part: its number, its first row, and the one after its last.
        seen: Seen, of these queries; a count of -1 for those that have no list.
        queries: float64, (queries, dim).
        ground: Ground, whose Kept is written.
    """
    count, kept, (number, first, last) = high - low, ground.kept, part
    listed = 0
    for own in range(count):
        listed += max(0, seen.counts[own, 0])
    is_dense = listed > last - first
    if count == 1 or (count <= APART and not is_dense):
        each_ended(low, high, part, seen, queries, ground)
        return
    many, own_line, own_pool = _new_many(count), new_line(), new_pool()
    for own in range(count):
        if seen.counts[own, 0] >= 0:
            line, pool = _of(many, own, own_line, own_pool)
            many.lengths[own] = length_of(queries[low + own])
            line.counts[2], line.rests[1] = kept.computed[number, low + own], kept.rests[number, low + own]
            one = one_of(queries[low + own], low + own, ground, number, pool)
            many.is_going[own] = begun(own, one, seen, line, ground)
            kept.computed[number, low + own] = 0 if many.is_going[own] else CHANGED
    for begin in range(first - CHUNK, last, CHUNK):
        end = begin + CHUNK
        for own in range(count):
            if (
                is_dense
            ):  # most lines are wanted by some query: all are asked for, each once, a share of them by each query
                here, then = end + CHUNK * own // count, end + CHUNK * (own + 1) // count
                _ask_lines(ground.lines, min(here, last), min(then, last))
            else:
                many.ends[own] = _ask_listed(seen, own, many.ends[own], end + CHUNK, ground.lines)
            place, (lows, rows) = many.counts[own, 0], list_of(seen, own)
            if not many.is_going[own] or place >= seen.counts[own, 0] or rows[place] >= end:
                continue
            line, pool = _of(many, own, own_line, own_pool)
            one = one_again(queries[low + own], many.lengths[own], low + own, ground, number, pool)
            while many.is_going[own] and place < seen.counts[own, 0] and rows[place] < end:
                some = next_rows(seen, own, one, line, end, ground)
                evaluate_near(ground.lines, line.places, some, ground.near, low + own, line.found)
                many.is_going[own] = admitted(one, line, some, ground)
                place = many.counts[own, 0]
            if not many.is_going[own]:
                kept.computed[number, low + own] = CHANGED
            ahead(rows.ctypes.data + 4 * (place + LANES), 1)
            ahead(lows.ctypes.data + 4 * (place + LANES), 1)
    for own in range(count):
        if seen.counts[own, 0] >= 0:
            line, pool = _of(many, own, own_line, own_pool)
            one = one_again(queries[low + own], many.lengths[own], low + own, ground, number, pool)
            if many.is_going[own]:
                kept.computed[number, low + own] = _answered(one, line, ground)
            kept.rests[number, low + own] = _rest(own, one, seen, line, ground)
