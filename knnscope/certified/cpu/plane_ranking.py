"""Rows that the plane leaves: looked at by their byte codes, and those that these leave by the definition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.ranking import Asked, Near, Scale, distance_of, length_of, measured, take
from knnscope.certified.cpu.scan import replace_top

BLOCK = 64
"""Rows that are looked at by their byte codes together."""
WIDER = 1 / 256
"""Rows stay in a list whose bound is that much beyond a k-th key: they are not computed, but what is left out is further off for certain."""

WITHOUT = np.float32(np.finfo(np.float32).max)
"""The limit in place of an infinite one: rows whose bounds were replaced by infinity have been computed, and no others have such bounds."""


class Kept(NamedTuple):
    """What the parts know, written by them.

    keys, names: float64 and int64, (parts, queries, k), heaps. computed: int64, (parts, queries); -1 where there were too many,
    ranking.CHANGED where a row is not as it was. rests: float64, (parts, queries): every row not computed has a larger key. bars:
    float64, (queries,): the smallest k-th key of any part, or known before, which all read. reaches: float64, (queries,): the smallest upper bound of
    a k-th distance, likewise; where there are no lines, the smallest k-th key of rows that need not be as they were. said: see joint.py.
    """

    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    rests: npt.NDArray[np.float64]
    bars: npt.NDArray[np.float64]
    reaches: npt.NDArray[np.float64]
    said: npt.NDArray[np.float64]


class Ground(NamedTuple):
    """What all that is computed for a part stands on.

    ranking.Table; blocks of plane.Plane; lines (lines.py); PlaneQueries, and the same queries as lines are asked; Kept; rows that may be answers.
    """

    table: Any
    plane: Any
    lines: Any
    asked: Any
    near: Any
    kept: Any
    allowed: Any


class Seen(NamedTuple):
    """What a thread knows of its queries while rows pass.

    lowest: float64, (queries, rows to probe): heaps of the smallest bounds. uppers: float64, (queries, k): heaps of upper bounds of
    distances. limits: float32, (queries,): V by these. lows, rows: float32 and int32, (room of all,): rows that V leaves, and their bounds. lists: int64,
    (queries, 2): where a query's own begin and how far they may reach.
    fresh: int64, (queries, places): rows whose upper bounds are looked at next. counts: int64, (queries, 2): of rows, -1 for too many, and of fresh ones.
    found: float64, (5, rows to probe), see lines.py. lines: of lines.py.
    """

    lowest: npt.NDArray[np.float64]
    uppers: npt.NDArray[np.float64]
    limits: npt.NDArray[np.float32]
    lows: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int32]
    lists: npt.NDArray[np.int64]
    fresh: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    found: npt.NDArray[np.float64]
    lines: npt.NDArray[np.int8]


class One(NamedTuple):
    """A query at work in one part: ranking.Asked, its number, and its heap."""

    asked: Asked
    number: int
    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]


@compiled(inline=True)
def list_of(seen: Any, own: int) -> tuple[Any, Any]:
    """Bounds and rows of a query's list."""
    begin, end = seen.lists[own, 0], seen.lists[own, 1]
    return seen.lows[begin:end], seen.rows[begin:end]


@compiled()
def one_of(query: Any, number: int, ground: Any, part: int, pool: Any) -> Any:
    """One, with nothing found but what its part has computed before."""
    kept = ground.kept
    if kept.computed[part, number] < 0:
        kept.keys[part, number, :], kept.names[part, number, :] = np.inf, np.iinfo(np.int64).max
    return one_again(query, length_of(query), number, ground, part, pool)


@compiled()
def one_again(query: Any, length: float, number: int, ground: Any, part: int, pool: Any) -> Any:
    """One, with what was found."""
    near, kept = ground.near, ground.kept
    scale = Scale(near.bases[number], near.gains[number], near.blurs[number])
    reach = bounds.reach(kept.reaches[number], ground.table.widen, scale.blur)
    asked = Asked(query, length, scale, pool, kept.bars[number], reach)
    return One(asked, number, kept.keys[part, number], kept.names[part, number])


@compiled(inline=True)
def limit_of(bar: float, number: int, ground: Any) -> np.float32:
    """V, from an upper bound of the k-th distance."""
    asked, near = ground.asked, ground.near
    reach = bounds.reach(bar, ground.table.widen, near.blurs[number])
    key = plane_bounds.key(reach, near.bases[number], near.gains[number])
    return bounds.up(plane_bounds.limit(key, asked.alphas[number], asked.betas[number]))


@compiled()
def reached(own: int, query: int, seen: Any, bar: float, ground: Any) -> None:
    """A smaller V, by an upper bound of the k-th distance, and by what others know of it; they hear of a smaller one."""
    reaches = ground.kept.reaches
    if bar < reaches[query]:
        reaches[query] = bar
    if reaches[query] < np.inf:
        seen.limits[own] = min(seen.limits[own], limit_of(reaches[query], query, ground))


@compiled()
def within(key: float, query: int, kept: Any, table: Any, near: Any) -> bool:
    """Whether a k-th key is no further than what was known of it."""
    reach, scale = kept.reaches[query], Scale(near.bases[query], near.gains[query], near.blurs[query])
    return reach == np.inf or distance_of(key, table.metric, scale) <= bounds.reach(reach, table.widen, scale.blur)


@compiled()
def narrow(own: int, query: int, seen: Any, count: int, ground: Any) -> None:
    """A smaller V, by upper bounds of rows that were not looked at before."""
    for i in range(count):
        if seen.found[1, i] < seen.uppers[own, 0]:
            replace_top(seen.uppers, own, seen.found[1, i])
    seen.counts[own, 1] = 0
    reached(own, query, seen, seen.uppers[own, 0], ground)


@compiled(inline=True)
def known(one: Any, ground: Any) -> float:
    """The k-th key, by what this part and the others have computed."""
    return min(one.keys[0], ground.kept.bars[one.number])


@compiled(inline=True)
def limit_of_key(key: float, number: int, ground: Any) -> np.float32:
    """V, from a k-th key."""
    if not key < np.inf:
        return np.float32(np.inf)
    return bounds.up(plane_bounds.limit(key, ground.asked.alphas[number], ground.asked.betas[number]))


@compiled(inline=True)
def limit_beyond(key: float, number: int, ground: Any) -> np.float32:
    """V, a little beyond a k-th key."""
    return limit_of_key(key + WIDER * abs(key), number, ground)


@compiled(inline=True)
def reach_of(bar: float, one: Any, ground: Any) -> float:
    """The distance beyond which no row matters, from an upper bound of the k-th one."""
    return bounds.reach(bar, ground.table.widen, one.asked.scale.blur)


@compiled(inline=True)
def reach_of_key(key: float, one: Any, ground: Any) -> float:
    """The same from the k-th key."""
    return reach_of(distance_of(key, ground.table.metric, one.asked.scale), one, ground) if key < np.inf else np.inf


@compiled()
def probed(seen: Any, own: int, places: Any) -> int:
    """Rows with the smallest bounds of those that V left: how many. In place of their bounds is no number, so that no limit leaves them again."""
    (lows, rows), top, count = list_of(seen, own), seen.lowest[own, 0], 0
    for i in range(seen.counts[own, 0]):
        if lows[i] <= top and count < places.shape[0]:
            places[count] = rows[i]
            lows[i] = np.float32(np.nan)
            count += 1
    return count


@compiled()
def first_rows(one: Any, places: Any, count: int, found: Any, ground: Any) -> tuple[int, float]:
    """Let rows compete whose bounds are ``found``: see ``ranking.take``."""
    return take(ground.table, Near(places[:count], found[0, :count], found[1, :count]), one.asked, one.names, one.keys)


class Line(NamedTuple):
    """Rows in wait.

    places: int64, (BLOCK,), to be looked at by their byte codes. found: float64, (5, BLOCK), see lines.py. counts: int64, (3,): the
    place among all rows that V left from which on to go on, rows that wait for the definition (in the Pool), and rows computed.
    rests: float64, (2,): the smallest bound of the plane that was left out, and the smallest lower bound of a distance.
    """

    places: npt.NDArray[np.int64]
    found: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    rests: npt.NDArray[np.float64]


@compiled()
def next_rows(seen: Any, own: int, one: Any, line: Any, end: int, ground: Any) -> int:
    """The next rows before row ``end`` that V leaves, by what has been computed so far, into ``line.places``: how many."""
    limit, count, (lows, rows) = limit_of_key(known(one, ground), one.number, ground), 0, list_of(seen, own)
    limit = min(limit, seen.limits[own])
    place, rest, last = line.counts[0], line.rests[0], seen.counts[own, 0]
    while place < last and count < BLOCK:
        row, low = rows[place], lows[place]
        if row >= end:
            break
        if low <= limit:
            line.places[count] = row
            count += 1
        elif low < rest:
            rest = np.float64(low)
        place += 1
    line.counts[0], line.rests[0] = place, rest
    return count


@compiled()
def admitted(one: Any, line: Any, count: int, ground: Any) -> bool:
    """Rows whose byte codes leave them wait, and are computed sixteen at a time; False where one is not as it was."""
    pool, waiting = one.asked.pool, line.counts[1]
    bar = min(one.asked.reach, reach_of_key(known(one, ground), one, ground))
    for i in range(count):
        lower = line.found[0, i]
        if lower > bar:
            line.rests[1] = min(line.rests[1], lower)
            continue
        pool.places[waiting], pool.lowers[waiting], pool.uppers[waiting] = line.places[i], lower, line.found[1, i]
        waiting += 1
        if waiting == TOGETHER:
            if not _computed(one, line, waiting, ground):
                return False
            waiting = 0
            bar = min(one.asked.reach, reach_of_key(known(one, ground), one, ground))
    line.counts[1] = waiting
    return True


@compiled()
def emptied(one: Any, line: Any, ground: Any) -> bool:
    """The rows that still wait, likewise."""
    return line.counts[1] == 0 or _computed(one, line, line.counts[1], ground)


@compiled()
def new_line() -> Any:
    """Memory for one thread."""
    return Line(np.empty(BLOCK, dtype=np.int64), np.empty((5, BLOCK)), np.zeros(3, dtype=np.int64), np.empty(2))


@compiled()
def _computed(one: Any, line: Any, count: int, ground: Any) -> bool:
    wrong = measured(ground.table, one.asked, count, one.names, one.keys)
    line.counts[2] += count
    if wrong >= 0:
        one.names[0] = wrong
    return wrong < 0
