"""All rows within a radius, by the byte codes: the scan of scan.py with a threshold that is known before it begins."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, scan
from knnscope.certified.cpu.exact_sums import TOGETHER
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import trailing_zeros
from knnscope.certified.cpu.queries import BASE
from knnscope.certified.cpu.ranking import Scale, distance_of, keys_of, length_of, new_pool


class Radii(NamedTuple):
    """Of some queries, padded as they are: float64, (queries,), the largest key, and the scaled distance beyond which rows have larger ones."""

    keys: npt.NDArray[np.float64]
    reaches: npt.NDArray[np.float64]


class Kept(NamedTuple):
    """What one part of the rows has for some queries, so many places each as it has rows.

    rows: int32, (queries, places). squares: float64, alike: lower bounds of |y - p|^2; keys, once they are known. counts: int64, (queries, 2):
    rows that the bound left, and those of them within the radius.
    """

    rows: npt.NDArray[np.int32]
    squares: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


class Mine(NamedTuple):
    """What ``scan._scan`` asks of a thread: see scan.Own. slopes, limits: C and V, which stay."""

    out: Any
    masks: Any
    slopes: npt.NDArray[np.float32]
    limits: npt.NDArray[np.float32]
    reaches: npt.NDArray[np.float64]
    kept: Kept


@compiled(apart=True)
def reached(asked: Any, keys: Any, metric: int, widen: float, reaches: Any) -> None:
    """The scaled distances beyond which a row's key is larger than that of its query.

    Args:
        asked: queries.EncodedQueries.
        keys: float64, (queries,).
        metric: 0 l2, 1 ip, 2 cosine.
        widen: see ranking.Table.
        reaches: float64, written.
    """
    for query in range(keys.shape[0]):
        scale = Scale(asked.bases[query], asked.gains[query], asked.blurs[query])
        reaches[query] = bounds.reach(distance_of(keys[query], metric, scale), widen, scale.blur)


@compiled()
def _begun(out: Any, masks: Any, asked: Any, low: int, part: Any, kept: Any) -> Any:  # noqa: ARG001
    """Mine, in place of ``scan.prepared``; padding keeps no row."""
    size, (own, radii) = asked.far.shape[0], kept
    slopes, limits = np.zeros(size, dtype=np.float32), np.full(size, -np.inf, dtype=np.float32)
    for query in range(low, radii.reaches.shape[0]):
        own.counts[query, 0] = 0
        if not asked.far[query]:
            a = radii.reaches[query] + asked.errors[query] * bounds.WIDEN
            slopes[query], limits[query] = bounds.coefficient(a), bounds.limit(a, asked.lengths2[query])
    return Mine(out, masks, slopes, limits, radii.reaches, own)


@compiled(inline=True)
def _admit(mask: int, spot: Any, part: Any, coded: Any, asked: Any, allowed: Any, mine: Any) -> None:
    """Rows that the test left in, in place of ``scan.admit``: those that are kept in float64 too."""
    query, (rows, squares, counts), out = spot.query, mine.kept, mine.out
    p2, e_q, step = asked.lengths2[query], asked.errors[query], np.float64(asked.steps[query]) * 0.5
    while mask:
        r = trailing_zeros(mask)
        mask &= mask - 1
        row = spot.row0 + r
        if row >= part.rows:
            break
        if allowed.shape[0] and not allowed[min(query, allowed.shape[0] - 1), row]:
            continue
        dot = np.float64(out[part.digits * spot.place, r])
        if part.digits == 2:
            dot = BASE * dot + np.float64(out[2 * spot.place + 1, r])
        e = np.float64(coded.errors[row])
        least, _ = bounds.squares(coded.terms[row], e, p2, np.float64(coded.scales[row]) * step * dot)
        if bounds.lower(least, e, e_q) <= mine.reaches[query]:
            now = counts[query, 0]
            rows[query, now], squares[query, now] = row, least
            counts[query, 0] = now + 1


@compiled(inline=True)
def _whole(mine: Any, low: int, turn: int, part: Any, asked: Any, kept: Any) -> tuple[int, int]:  # noqa: ARG001
    """All panels in one turn, in place of ``scan.following``."""
    return part.first if turn == 0 else part.last, part.last


@compiled()
def _ended(mine: Any, low: int, coded: Any, asked: Any, part: Any, kept: Any) -> None:
    """Nothing to hand over, in place of ``scan.hand_over``."""


@cache
def form(name: str) -> Any:
    """``scan._scan`` of an instruction set for known thresholds; what it is given as ``memory`` are Kept and Radii."""
    own = {"prepared": _begun, "following": _whole, "admit": _admit, "hand_over": _ended}
    return specialised(scan._scan, f"within_{name}", apart=True, **scan.PRODUCTS[name], **own)


@compiled(apart=True)
def rank(table: Any, coded: Any, asked: Any, queries: Any, radii: Any, kept: Any) -> int:
    """Compute what the bound left, and keep what is within the radius.

    Args:
        table: ranking.Table.
        coded: quantise.Coded.
        asked: queries.EncodedQueries.
        queries: float64, (queries, dim).
        radii: Radii.
        kept: Kept, whose squares become keys.

    Returns:
        The first row that lies outside its bounds; -1 if none does.
    """
    pool, errors, terms = new_pool(), coded.errors, coded.terms
    for query in range(queries.shape[0]):
        count, left, vector = kept.counts[query, 0], 0, queries[query]
        length, most, p2, e_q = length_of(vector), radii.keys[query], asked.lengths2[query], asked.errors[query]
        scale = Scale(asked.bases[query], asked.gains[query], asked.blurs[query])
        for first in range(0, count, TOGETHER):
            some = min(TOGETHER, count - first)
            for i in range(TOGETHER):
                pool.places[i] = kept.rows[query, first + min(i, some - 1)]
            keys_of(table, vector, length, pool)
            for i in range(some):
                row, square, key = pool.places[i], kept.squares[query, first + i], pool.keys[i]
                e, distance = np.float64(errors[row]), distance_of(key, table.metric, scale)
                upper = bounds.upper(bounds.most(square, terms[row], e, p2), e, e_q)
                if not bounds.lower(square, e, e_q) <= bounds.reach(distance, table.widen, scale.blur) or not (
                    distance <= bounds.reach(upper, table.widen, scale.blur)
                ):
                    return row
                if key <= most:
                    kept.rows[query, left], kept.squares[query, left] = row, key
                    left += 1
        kept.counts[query, 1] = left
    return -1


@compiled(apart=True)
def taken(table: Any, kept: Any, keys: Any, names: Any) -> None:
    """What is within the radius, one query after another: keys, float64, and what rows are called, int64; written."""
    place = 0
    for query in range(kept.counts.shape[0]):
        for i in range(kept.counts[query, 1]):
            row = np.int64(kept.rows[query, i])
            keys[place] = kept.squares[query, i]
            names[place] = table.names[row] if table.names.shape[0] else row
            place += 1


@compiled(apart=True)
def moved(counts: Any, keys: Any, names: Any, ends: Any, to_keys: Any, to_names: Any) -> None:
    """What one part of the rows has, behind what the queries have so far: ``ends``, int64, (queries,), written."""
    place = 0
    for query in range(counts.shape[0]):
        for _ in range(counts[query]):
            to_keys[ends[query]], to_names[ends[query]] = keys[place], names[place]
            ends[query] += 1
            place += 1


@compiled()
def _settled(keys: Any, names: Any, first: int, place: int, size: int) -> None:
    """Let an item of a heap from ``first`` on sink; the furthest is on top."""
    key, name = keys[first + place], names[first + place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        at = first + child
        if child + 1 < size and (keys[at + 1] > keys[at] or (keys[at + 1] == keys[at] and names[at + 1] > names[at])):
            child, at = child + 1, at + 1
        if not (keys[at] > key or (keys[at] == key and names[at] > name)):
            break
        keys[first + place], names[first + place] = keys[at], names[at]
        place = child
    keys[first + place], names[first + place] = key, name


@compiled(apart=True)
def sort(offsets: Any, keys: Any, names: Any) -> None:
    """Order each query's answers by key and name."""
    for query in range(offsets.shape[0] - 1):
        first, size = offsets[query], offsets[query + 1] - offsets[query]
        for place in range(size // 2 - 1, -1, -1):
            _settled(keys, names, first, place, size)
        for last in range(size - 1, 0, -1):
            key, name = keys[first + last], names[first + last]
            keys[first + last], names[first + last] = keys[first], names[first]
            keys[first], names[first] = key, name
            _settled(keys, names, first, 0, last)


@compiled(apart=True)
def all_rows(table: Any, part: Any, query: Any, most: float, allowed: Any, kept: Any) -> int:
    """Compute every row of a part without asking a bound.

    Args:
        table: ranking.Table of these rows only; names of all.
        part: number of the first, and of the query among those of ``allowed`` and ``kept``.
        query: float64, (dim,).
        most: the largest key.
        allowed: see ``scan.admit``.
        kept: Kept, written.

    Returns:
        -1 where a value is not a number, else 0.
    """
    (first, number), pool, length, waiting, left, done = part, new_pool(), length_of(query), 0, 0, 0
    places, keys, count = pool.places, pool.keys, table.rows.shape[0]
    for row in range(count + 1):
        if row < count:
            if allowed.shape[0] and not allowed[min(number, allowed.shape[0] - 1), first + row]:
                continue
            places[waiting] = row
            waiting += 1
        if waiting == TOGETHER or (row == count and waiting):
            keys_of(table, query, length, pool)
            for i in range(waiting):
                if np.isnan(keys[i]):
                    return -1
                if keys[i] <= most:
                    kept.rows[number, left], kept.squares[number, left] = first + places[i], keys[i]
                    left += 1
            done += waiting
            waiting = 0
    kept.counts[number, 0], kept.counts[number, 1] = done, left
    return 0
