"""A pass over the plane that computes each pair of rows once: its bound is held against the k-th keys of both (graph_kernels.py)."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, graph_kernels, lines
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.heaps import further, sink, sort
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import Emit, T, instructions
from knnscope.certified.cpu.plane import LANES, SIDES
from knnscope.certified.cpu.plane_ranking import BLOCK
from knnscope.certified.cpu.ranking import Scale, distance_of, keys_of, length_of, new_pool

pairs: Any = None
evaluate: Any = None
"""The kernels of an instruction set: ``form`` gives each its own."""
OVERFLOW = -2
"""Of a pass: a value that is no number."""


class Graph(NamedTuple):
    """What one thread knows of all rows, in the order of the pass.

    keys, names: float64 and int64, (rows, k): heaps of the nearest so far. tops: float64, (rows,): at least the k-th key. limits: float32,
    (padded rows,): the same, rounded up with its slack; minus infinity for padding.
    """

    keys: npt.NDArray[np.float64]
    names: npt.NDArray[np.int64]
    tops: npt.NDArray[np.float64]
    limits: npt.NDArray[np.float32]


class Share(NamedTuple):
    """What a call computes.

    first: place of the first query, a multiple of 16. blocks: of rows, from the query's on. step: how many pass before the next tile. itself:
    whether a row is its own neighbor.
    """

    first: int
    blocks: int
    step: int
    itself: bool


@instructions
def _listed(emit: Emit, masks: Any, words: Any, to: Any) -> Any:
    """Places of the bits of some masks, int16, that are set, four masks at a time: how many.

    Args:
        emit: where.
        masks: address.
        words: how many times four of them.
        to: address of places, int32, written.
    """
    b = emit.builder

    def word(index: Any, filled: list[Any]) -> list[Any]:
        def member(lane: Any, so_far: list[Any]) -> list[Any]:
            place = b.add(b.mul(index, emit.number(4 * LANES)), lane)
            emit.store(b.trunc(place, T.I32), emit.at(to, (so_far[0], 4)))
            return [b.add(so_far[0], emit.number(1))]

        return emit.set_bits(emit.load(T.I64, emit.at(masks, (index, 8))), filled, member)

    return emit.loop(words, [emit.number(0)], word)[0]


@compiled(apart=True)
def reordered(plane: Any, order: Any, made: Any) -> None:
    """Blocks of plane.Plane with rows in another order.

    Args:
        plane: blocks.
        order: int32, (rows,).
        made: blocks, written, padding as the last row.
    """
    codes = plane.shape[1] - SIDES
    words, to = plane.view(np.int32), made.view(np.int32)
    halves, to_halves = plane.view(np.int16), made.view(np.int16)
    for block in range(made.shape[0]):
        for lane in range(LANES):
            row = order[min(LANES * block + lane, order.shape[0] - 1)]
            for group in range(codes // 64):
                to[block, 16 * group + lane] = words[row // LANES, 16 * group + row % LANES]
            for side in range(4):
                at = codes // 2 + LANES * side
                to_halves[block, at + lane] = halves[row // LANES, at + row % LANES]


@compiled(apart=True)
def begun(tops: Any, graph: Any) -> None:
    """Nothing found, but that k others are no further than ``tops``, float64, (rows,)."""
    graph.keys[:] = np.inf
    graph.names[:] = np.iinfo(np.int64).max
    for place in range(graph.limits.shape[0]):
        graph.limits[place] = np.float32(-np.inf)
        if place < tops.shape[0]:
            graph.tops[place], graph.limits[place] = tops[place], graph_kernels.limit(tops[place])


@compiled()
def _offered(place: int, key: float, name: int, graph: Any) -> None:
    """A pair for the row at a place."""
    keys, names = graph.keys[place], graph.names[place]
    if further(keys[0], names[0], key, name):
        sink(keys, names, keys.shape[0], key, name)
        if keys[0] < graph.tops[place]:
            graph.tops[place], graph.limits[place] = keys[0], graph_kernels.limit(keys[0])


@compiled()
def _name(table: Any, row: int) -> int:
    return table.names[row] if table.names.shape[0] else row


@compiled()
def _computed(table: Any, one: Any, waiting: Any, count: int, order: Any, pool: Any, graph: Any) -> int:
    """Compute the pairs that wait: -1, or the first row that lies outside its bounds."""
    place, vector, length, scale = one
    for i in range(TOGETHER):
        pool.places[i] = order[waiting[min(i, count - 1)]]
    keys_of(table, vector, length, pool)
    own = _name(table, order[place])
    for i in range(count):
        key, row = pool.keys[i], pool.places[i]
        distance = distance_of(key, table.metric, scale)
        if not pool.lowers[i] <= bounds.reach(distance, table.widen, scale.blur) or not distance <= bounds.reach(
            pool.uppers[i], table.widen, scale.blur
        ):
            return row
        _offered(place, key, _name(table, row), graph)
        if waiting[i] != place:
            _offered(waiting[i], key, own, graph)
    return -1


def _pass(table: Any, levels: Any, asked: Any, queries: Any, share: Any, graph: Any) -> int:
    """All pairs of some queries and the rows from theirs on.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane as ``reordered``, lines (lines.py), and the order, int32, (rows,).
        asked: PlaneQueries, EncodedQueries of lines.py, and what queries are held to, see graph_kernels.py; written.
        queries: float64, (queries, dim).
        share: Share.
        graph: Graph, written.

    Returns:
        -1; a row that lies outside its bounds; or ``OVERFLOW``.
    """
    (plane, near, order), (to_plane, to_lines, held), count = levels, asked, queries.shape[0]
    each, size = to_plane.terms.shape[0] // to_plane.words.shape[0], share.step * LANES
    masks, found, pool = np.zeros((each, (share.step + 3) // 4 * 4), dtype=np.int16), np.empty((5, BLOCK)), new_pool()
    places, rows, waiting, lengths = (
        np.empty(size, dtype=np.int32), np.empty(BLOCK, dtype=np.int64), np.empty(TOGETHER, dtype=np.int64), np.empty(count),
    )  # fmt: skip
    for query in range(count):
        lengths[query] = length_of(queries[query])
    for begin in range(share.first // LANES, share.blocks, share.step):
        blocks, row0 = min(share.blocks - begin, share.step), begin * LANES
        masks[:, :] = 0
        for tile in range(to_plane.words.shape[0]):
            if row0 + blocks * LANES <= share.first + tile * each:
                continue  # those pairs have other queries
            last = min(tile * each + each, count)
            graph_kernels.hold(graph.tops[share.first + tile * each :], tile * each, last, to_plane, held)
            pairs(plane, (begin, blocks, tile), to_plane, held, graph.limits, masks)
            for query in range(tile * each, last):
                if to_plane.far[query] or to_lines.far[query]:
                    continue
                line = masks[query - tile * each]
                some = _listed(line.ctypes.data, (blocks + 3) // 4, places.ctypes.data)
                if some:
                    given = (queries[query], lengths[query], query, share.first + query, some, row0, share.itself)
                    wrong = look(table, (near, order), to_lines, given, (places, rows, waiting, found, pool), graph)
                    if wrong >= 0:
                        return wrong
    for query in range(count):
        if (to_plane.far[query] or to_lines.far[query]) and not _all_pairs(
            table, queries[query], share.first + query, order, share.itself, graph
        ):
            return OVERFLOW
    return -1


@compiled()
def _all_pairs(table: Any, vector: Any, place: int, order: Any, itself: bool, graph: Any) -> bool:
    """Compute all pairs of a query that bounds cannot tell about; False where a value is not a number."""
    pool, length, own, total = new_pool(), length_of(vector), _name(table, order[place]), order.shape[0]
    for first in range(place if itself else place + 1, total, TOGETHER):
        some = min(TOGETHER, total - first)
        for i in range(TOGETHER):
            pool.places[i] = order[first + min(i, some - 1)]
        keys_of(table, vector, length, pool)
        for i in range(some):
            if np.isnan(pool.keys[i]):
                return False
            _offered(place, pool.keys[i], _name(table, pool.places[i]), graph)
            if first + i != place:
                _offered(first + i, pool.keys[i], own, graph)
    return True


look: Any = None


def _look(table: Any, levels: Any, asked: Any, given: Any, room: Any, graph: Any) -> int:
    """Look at the lines of rows that the plane left for a query, and compute what these leave: see ``_pass``."""
    (near, order), (vector, length, query, place, count, row0, itself), (places, rows, waiting, found, pool) = (
        levels, given, room,
    )  # fmt: skip
    scale = Scale(asked.bases[query], asked.gains[query], asked.blurs[query])
    one, ready, done, total = (place, vector, length, scale), 0, 0, order.shape[0]
    while done < count:
        size = 0
        while done < count and size < BLOCK:
            other = row0 + places[done]
            done += 1
            if other < total and (other > place or (itself and other == place)):
                places[size], rows[size] = other, order[other]  # what was read is written over
                size += 1
        evaluate(near, rows, size, asked, query, found)
        for i in range(size):
            other = np.int64(places[i])
            most = max(graph.tops[place], graph.tops[other])
            if found[0, i] <= bounds.reach(distance_of(most, table.metric, scale), table.widen, scale.blur):
                waiting[ready], pool.lowers[ready], pool.uppers[ready] = other, found[0, i], found[1, i]
                ready += 1
                if ready == TOGETHER:
                    wrong = _computed(table, one, waiting, ready, order, pool, graph)
                    if wrong >= 0:
                        return wrong
                    ready = 0
    return -1 if ready == 0 else _computed(table, one, waiting, ready, order, pool, graph)


@compiled(apart=True)
def joined(keys: Any, names: Any, graph: Any) -> None:
    """Heaps of one thread into those of another."""
    for place in range(keys.shape[0]):
        for i in range(keys.shape[1]):
            if further(graph.keys[place, 0], graph.names[place, 0], keys[place, i], names[place, i]):
                sink(graph.keys[place], graph.names[place], keys.shape[1], keys[place, i], names[place, i])


@compiled(apart=True)
def finished(graph: Any, order: Any, metric: int, ids: Any, values: Any) -> int:
    """Heaps become answers, in the order of the rows; how many rows have fewer than k."""
    short = 0
    for place in range(order.shape[0]):
        keys, names, row = graph.keys[place], graph.names[place], order[place]
        sort(keys, names)
        short += names[keys.shape[0] - 1] == np.iinfo(np.int64).max
        for i in range(keys.shape[0]):
            ids[row, i], values[row, i] = names[i], -keys[i] if metric else keys[i]
    return short


@cache
def form(isa: str) -> Any:
    """``_pass`` for an instruction set; compiled when it is first called."""
    own = specialised(_look, f"graph_look_{isa}", evaluate=lines.evaluation(isa))
    return specialised(_pass, f"graph_{isa}", apart=True, pairs=graph_kernels.tester(isa), look=own)
