"""Rows that the plane leaves, where nothing is kept beside it: computed by the definition at once, sixteen at a time, each held to its bound.

Their keys are known, not bounded: so V follows from the k-th of them as in plane_bound.py, and no rounding comes in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.heaps import further, sink
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.lines import ahead, ask_ahead, blank
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.plane_kernels import half
from knnscope.certified.cpu.plane_ranking import known, limit_beyond, limit_of_key, list_of
from knnscope.certified.cpu.queries import EncodedQueries
from knnscope.certified.cpu.ranking import CHANGED, keys_of, length_of, new_pool
from knnscope.certified.cpu.scan import replace_top


@compiled()
def asked(queries: Any, mapping: Any, width: int) -> Any:  # noqa: ARG001
    """Queries in place of those that lines are asked, with as many arguments: as they are, and none of them far."""
    made = blank(queries.shape[0], 0)
    made.far[:] = False
    return EncodedQueries(
        queries, made.biases, made.steps, made.lengths2, made.errors, made.bases, made.gains, made.blurs, made.far
    )


def ask(queries: npt.NDArray[np.float64]) -> EncodedQueries:
    """As ``asked``, with arrays of Python's."""
    made: EncodedQueries = blank.py_func(len(queries), 0)
    made.far[:] = False
    return made._replace(packed=queries)


@compiled()
def reached(own: int, query: int, seen: Any, bar: float, ground: Any) -> None:
    """As ``plane_ranking.reached``, from a k-th key, of rows that are not held to their bounds yet: so it goes to ``reaches``, and ``within`` looks."""
    reaches = ground.kept.reaches
    if bar < reaches[query]:
        reaches[query] = bar
    seen.limits[own] = min(seen.limits[own], limit_beyond(reaches[query], query, ground))


@compiled()
def within(key: float, query: int, kept: Any, table: Any, near: Any) -> bool:  # noqa: ARG001
    """As ``plane_ranking.within``, of keys: where no row that was held to its bound is as near as one was before, that one was changed."""
    return bool(key <= kept.reaches[query])


@compiled()
def look(own: int, query: int, count: int, seen: Any, ground: Any) -> None:
    """Compute fresh rows, for a smaller V: where there is one already, not before sixteen have come. ``seen.uppers`` are keys here."""
    if count >= TOGETHER or (count > 0 and not seen.uppers[own, 0] < np.inf):
        pool, vector, fresh = new_pool(), ground.near.packed[query], seen.fresh
        length = length_of(vector)
        for first in range(0, count, TOGETHER):
            some = min(TOGETHER, count - first)
            for i in range(TOGETHER):
                pool.places[i] = fresh[own, first + min(i, some - 1)]
            keys_of(ground.table, vector, length, pool)
            for i in range(some):
                if pool.keys[i] < seen.uppers[own, 0]:
                    replace_top(seen.uppers, own, pool.keys[i])
        reached(own, query, seen, seen.uppers[own, 0], ground)
        seen.counts[own, 1] = 0


@compiled()
def opened(own: int, count: int, seen: Any, asked: Any, some: Any, ground: Any) -> None:  # noqa: ARG001
    """As ``plane_ending._opened``, but fresh rows are met again."""
    look(own, asked[1], count, seen, ground)


@compiled()
def finish(own: int, one: Any, seen: Any, line: Any, ground: Any) -> int:
    """Answer a query when all rows have passed, see ``plane_ending._finish``; -1 where a value is no finite number and its row not held to a bound."""
    bars = ground.kept.bars
    line.counts[2], line.rests[0], line.rests[1] = 0, np.inf, np.inf
    for last in range(2):
        wrong = _computed_of(last == 1, own, one, seen, (line, ground))
        if wrong < 0:
            return wrong
        bars[one.number] = min(bars[one.number], one.keys[0])
    return int(line.counts[2])


@compiled()
def _computed_of(last: bool, own: int, one: Any, seen: Any, given: Any) -> int:
    """Compute those rows of a list that V leaves: first those with the smallest bounds, at ``last`` all others. 0, or what ``_compete`` gives.

    Two times sixteen wait: while some are computed, the others arrive.
    """
    line, ground = given
    (lows, rows), top, waiting = list_of(seen, own), seen.lowest[own, 0], 0
    limit, plane = _limit(one, ground), ground.plane
    for i in range(seen.counts[own, 0]):
        low = lows[i]
        if last and low > limit:
            line.rests[0] = min(line.rests[0], np.float64(low))
        if not low <= limit or not (last or low <= top):
            continue
        line.places[waiting], line.found[0, waiting] = rows[i], low
        if not last:
            lows[i] = np.float32(np.nan)  # that no limit leaves again
        ask_ahead(seen.lines, rows[i])
        ahead(plane.ctypes.data + (rows[i] // LANES + 1) * plane.shape[1] - SIDES, SIDES // 64)
        waiting += 1
        if waiting == 2 * TOGETHER:
            wrong = _compete(one, line, TOGETHER, ground)
            if wrong < 0:
                return wrong
            waiting = TOGETHER
            for j in range(TOGETHER):
                line.places[j], line.found[0, j] = line.places[j + TOGETHER], line.found[0, j + TOGETHER]
            limit = _limit(one, ground)
    for first in range(0, waiting, TOGETHER):
        if first:
            for j in range(waiting - first):
                line.places[j], line.found[0, j] = line.places[j + first], line.found[0, j + first]
        wrong = _compete(one, line, min(TOGETHER, waiting - first), ground)
        if wrong < 0:
            return wrong
    return 0


@compiled(inline=True)
def _limit(one: Any, ground: Any) -> np.float32:
    """V, by what has been computed, held to its bound or not."""
    return limit_of_key(min(known(one, ground), ground.kept.reaches[one.number]), one.number, ground)


@compiled()
def _compete(one: Any, line: Any, count: int, ground: Any) -> int:
    """Let the first rows of a line compete: 0, ranking.CHANGED where one contradicts its bound, or -1, see ``finish``."""
    table, asked, pool = ground.table, ground.asked, one.asked.pool
    keys, heap, names = pool.keys, one.keys, one.names
    alpha, beta = asked.alphas[one.number], asked.betas[one.number]
    for i in range(TOGETHER):
        pool.places[i] = line.places[min(i, count - 1)]
    keys_of(table, one.asked.query, one.asked.length, pool)
    line.counts[2] += count
    for i in range(count):
        key, row, low = keys[i], pool.places[i], line.found[0, i]
        if low == -np.inf:  # a row that is never left out may be anywhere
            if not abs(key) < np.inf:
                return -1
        else:
            value = plane_bounds.limit(key, alpha, beta)
            if (
                not low <= value + 2.0**-100
                or not value < np.inf
                or not is_near(row, low, value, ground.plane, asked.terms[one.number], asked.gaps[one.number])
            ):
                names[0] = row
                return CHANGED
        name = row
        if table.names.shape[0]:
            name = table.names[row]
        if further(heap[0], names[0], key, name):
            sink(heap, names, heap.shape[0], key, name)
    return 0


@compiled()
def is_near(row: int, g: float, value: float, plane: Any, terms: Any, gap: float) -> bool:
    """Whether a key, as a bound's value, is as near as the row's bound says, which has taken off twice what the row's and the query's errors may be."""
    block, at = row // LANES, plane.shape[1] - SIDES + 2 * (row % LANES)
    square, error, tail = half(plane, block, at + 32), half(plane, block, at + 64), half(plane, block, at + 96)
    width = 2 * (np.float64(terms[1]) * error + np.float64(terms[2]) * tail) + square * 2.0**-8 + gap
    return value <= g + (width + (abs(g) + abs(value)) * 2.0**-20) * (1 + 2.0**-20) + 2.0**-22
