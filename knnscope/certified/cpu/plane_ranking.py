"""Distances of the rows that the plane leaves, sixteen at a time, into the heap of a query; each is held to its bound."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, plane_bounds
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, instructions
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.plane_kernels import half
from knnscope.certified.cpu.ranking import Pool, further, keys_of, sink


class Kept(NamedTuple):
    """What the parts know, written by them.

    keys, names: float64 and int64, (parts, queries, k), heaps. computed: int64, (parts, queries); -1 where there were too many,
    ranking.CHANGED where a row is not as it was. rests: float64, (parts, queries): every row not computed has a larger key. bars:
    float64, (queries,): the smallest k-th key of any part, which all read.
    """

    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    rests: npt.NDArray[np.float64]
    bars: npt.NDArray[np.float64]


class Ground(NamedTuple):
    """What all that is computed for a part stands on: ranking.Table, blocks of plane.Plane, PlaneQueries, Kept, and rows that may be answers."""

    table: Any
    plane: Any
    asked: Any
    kept: Any
    allowed: Any


class Line(NamedTuple):
    """Rows that wait to be computed, int64, (32,), and their bounds, float32."""

    rows: npt.NDArray[np.int64]
    lows: npt.NDArray[np.float32]


class One(NamedTuple):
    """A query at work in one part: the query, its number and length; its heap; and memory."""

    query: npt.NDArray[np.float64]
    number: int
    length: float
    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    pool: Pool
    line: Line


@instructions
def _ahead(emit: Emit, address: Any, lines: Any) -> None:
    """Ask for cache lines that are read soon."""

    def line(index: Any, _: list[Any]) -> list[Any]:
        emit.prefetch(emit.at(address, (index, 64)))
        return []

    emit.loop(lines, [], line)


@compiled(inline=True)
def await_row(line: Any, waiting: int, row: int, low: np.float32, ground: Any) -> None:
    """Put a row among those that are computed next, and ask for it and for what its bound is made of."""
    line.rows[waiting], line.lows[waiting] = row, low
    rows, plane = ground.table.rows, ground.plane
    _ahead(rows.ctypes.data + row * rows.strides[0], (rows.shape[1] * rows.itemsize + 63) // 64)
    _ahead(plane.ctypes.data + (row // LANES + 1) * plane.shape[1] - SIDES, SIDES // 64)


@compiled()
def serve(one: Any, waiting: int, least: int, ground: Any) -> int:
    """Compute sixteen rows of those that wait while there are ``least`` or more: how many wait then, or -1 (see ``compute``).

    Two times sixteen wait: while some are computed, the others arrive.
    """
    rows, lows, to_rows, to_lows = one.line.rows, one.line.lows, one.pool.places, one.pool.lows
    while waiting >= least and waiting > 0:
        some = min(TOGETHER, waiting)
        for i in range(some):
            to_rows[i], to_lows[i] = rows[i], lows[i]
        for i in range(waiting - some):
            rows[i], lows[i] = rows[i + some], lows[i + some]
        waiting -= some
        if not compute(one, some, ground):
            return -1
    return waiting


@compiled(inline=True)
def bar_of(one: Any, ground: Any, wider: float) -> np.float32:
    """V by what this part and the others know, for a key that is larger by a share of its size."""
    asked = ground.asked
    key = min(one.keys[0], ground.kept.bars[one.number])
    if not key < np.inf:
        return np.float32(np.inf)
    key += wider * abs(key)
    return bounds.up(plane_bounds.limit(key, asked.alphas[one.number], asked.betas[one.number]))


@compiled()
def compute(one: Any, count: int, ground: Any) -> bool:
    """Distances of the first ``count`` rows of ``pool.places``, whose bounds are ``pool.lows``, into the heap; False where one contradicts its bound."""
    table, asked = ground.table, ground.asked
    pool, metric = one.pool, table.metric
    for i in range(count, TOGETHER):
        pool.places[i] = pool.places[0]
    g, keys, places, heap, names, called = pool.lows, pool.keys, pool.places, one.keys, one.names, table.names
    keys_of(table.rows, one.query, metric, one.length, pool)
    alpha, beta = asked.alphas[one.number], asked.betas[one.number]
    for i in range(count):
        key, row, low = keys[i], places[i], np.float64(g[i])
        value = plane_bounds.limit(key, alpha, beta)
        if not low <= value + 2.0**-100 or not is_near(row, low, value, one.number, ground):
            names[0] = row
            return False
        name = called[row] if called.shape[0] else row
        if further(heap[0], names[0], key, name):
            sink(heap, names, heap.shape[0], key, name)
    return True


@compiled()
def is_near(row: int, g: float, value: float, number: int, ground: Any) -> bool:
    """Whether a key, as a bound's value, is as near as the row's bound says; a row that is never left out may be anywhere."""
    plane, asked = ground.plane, ground.asked
    block, lane = row // LANES, row % LANES
    at = plane.shape[1] - SIDES + 2 * lane
    square, error, tail = half(plane, block, at + 32), half(plane, block, at + 64), half(plane, block, at + 96)
    c1, c2 = np.float64(asked.terms[number, 1]), np.float64(asked.terms[number, 2])
    width = 2 * (c1 * error + c2 * tail) + square * 2.0**-8 + asked.gaps[number]
    if not width < np.inf:
        return True
    return value <= g + (width + (abs(g) + abs(value)) * 2.0**-20) * (1 + 2.0**-20) + 2.0**-22
