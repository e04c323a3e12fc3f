"""Candidates ranked by the definition of search/definition.py: nearest by their bounds first, sixteen at a time, until a bound ends it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from knnscope.certified.cpu import bounds
from knnscope.certified.cpu.exact_sums import DIFFERENCES, PRODUCTS, SQUARES, TOGETHER, sums
from knnscope.certified.cpu.jit import compiled

CHANGED = -2
"""Of a query: a row's distance lies outside the bounds that its code gives, so it is not the row that the index was built over."""


@compiled(inline="always")
def _further(key: float, name: int, other: float, other_name: int) -> bool:
    return key > other or (key == other and name > other_name)


@compiled()
def _sink(keys: Any, ids: Any, size: int, key: float, name: int) -> None:
    """Put (key, name) at the top of a heap of ``size`` and let it sink; the furthest is on top."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _further(keys[child + 1], ids[child + 1], keys[child], ids[child]):
            child += 1
        if not _further(keys[child], ids[child], key, name):
            break
        keys[place], ids[place] = keys[child], ids[child]
        place = child
    keys[place], ids[place] = key, name


@compiled()
def _sort(keys: Any, ids: Any) -> None:
    """A heap becomes ascending."""
    for size in range(keys.shape[0] - 1, 0, -1):
        key, name = keys[size], ids[size]
        keys[size], ids[size] = keys[0], ids[0]
        _sink(keys, ids, size, key, name)


@compiled(error_model="numpy")
def _keys(
    rows: Any, places: Any, query: Any, metric: int, length: float, addresses: Any, norms: Any, keys: Any
) -> None:
    """Values as defined of sixteen rows, as keys that ascend: ip and cosine with the other sign."""
    sums(rows, places, query, PRODUCTS if metric else DIFFERENCES, addresses, keys)
    if metric == 2:
        sums(rows, places, query, SQUARES, addresses, norms)
        for i in range(TOGETHER):
            scale = math.sqrt(norms[i]) * length
            # a quotient by what has overflowed would be 0, as if it were known
            keys[i] = np.nan if scale == np.inf else keys[i] / scale if scale != 0 else 0.0
    if metric:
        for i in range(TOGETHER):
            keys[i] = -keys[i]


@compiled(inline="always")
def _distance(key: float, metric: int, base: float, gain: float) -> float:
    """The scaled distance that bounds are of, from a value's key; not a number where that is none."""
    square = base + gain * (key if metric == 0 else -key)
    return math.sqrt(square) if not square < 0.0 else 0.0


@compiled()
def _length(query: Any) -> float:
    """The norm as defined."""
    total = 0.0
    for component in query:
        total += component * component
    return math.sqrt(total)


@compiled(error_model="numpy")
def nearest(
    rows: Any, numbers: Any, lowers: Any, uppers: Any, names: Any, query: Any, metric: int, base: float, gain: float,
    widen: float, blur: float, found: Any, values: Any,
) -> tuple[int, float]:  # fmt: skip
    """The k nearest candidates of one query, sorted by value and name.

    Args:
        rows: as ``dtypes.value`` reads them.
        numbers: int64, (candidates,): row numbers.
        lowers: float64, (candidates,): lower bounds; ascending ones are not needed.
        uppers: float64, alike: upper bounds.
        names: int64, (rows,): what rows are called; (0,) for their numbers.
        query: float64, (dim,).
        metric: 0 l2, 1 ip, 2 cosine.
        base: with ``gain``, ``widen`` and ``blur`` see queries.EncodedQueries.
        gain: see there.
        widen: see there.
        blur: see there.
        found: int64, (k,), written; -1 where there are fewer.
        values: float64, (k,), written; where there are fewer, infinite and last.

    Returns:
        How many were computed, or ``CHANGED``, and then ``found[0]`` is that row; and the smallest lower bound of those that were not:
        infinite if all were.
    """
    k, count = found.shape[0], numbers.shape[0]
    order = np.argsort(lowers)
    length = _length(query)
    keys, norms = np.empty(TOGETHER), np.empty(TOGETHER)
    some_places, addresses = np.empty(TOGETHER, dtype=np.int64), np.empty(TOGETHER, dtype=np.int64)
    found[:] = np.iinfo(np.int64).max
    values[:] = np.inf
    done, rest = 0, np.inf
    while done < count:
        lower = lowers[order[done]]
        if done >= k:
            bar = _distance(values[0], metric, base, gain)
            if lower > bounds.reach(bar, widen, blur):
                rest = lower
                break
        some = min(TOGETHER, count - done)
        for i in range(TOGETHER):
            some_places[i] = numbers[order[done + min(i, some - 1)]]
        _keys(rows, some_places, query, metric, length, addresses, norms, keys)
        for i in range(some):
            near = order[done + i]
            name, distance = numbers[near], _distance(keys[i], metric, base, gain)
            if not lowers[near] <= bounds.reach(distance, widen, blur) or not distance <= bounds.reach(
                uppers[near], widen, blur
            ):
                found[0] = name
                return CHANGED, rest
            if names.shape[0]:
                name = names[name]
            if _further(values[0], found[0], keys[i], name):
                _sink(values, found, k, keys[i], name)
        done += some
    _finish(found, values, min(k, count), metric)
    return done, rest


@compiled()
def _finish(found: Any, values: Any, filled: int, metric: int) -> None:
    _sort(values, found)
    if metric:
        for i in range(filled):
            values[i] = -values[i]
    found[filled:] = -1
    values[filled:] = -np.inf if metric else np.inf


@compiled(error_model="numpy")
def exhaustive(rows: Any, first: int, names: Any, query: Any, metric: int, mask: Any, found: Any, values: Any) -> int:
    """Let all rows compete: no bound is asked.

    Args:
        rows: (some, dim), the rows from number ``first`` on.
        first: see there.
        names: see ``nearest``.
        query: float64, (dim,).
        metric: 0 l2, 1 ip, 2 cosine.
        mask: bool, of all rows, or (0,).
        found: int64, (k,): the heap so far; to begin with the largest number and, in ``values``, infinity.
        values: float64, (k,).

    Returns:
        How many were computed, -1 if one is not a number.
    """
    length = _length(query)
    keys, norms = np.empty(TOGETHER), np.empty(TOGETHER)
    some_places, addresses = np.zeros(TOGETHER, dtype=np.int64), np.empty(TOGETHER, dtype=np.int64)
    done = waiting = 0
    count = rows.shape[0]
    for row in range(count + 1):
        if row < count:
            if mask.shape[0] and not mask[first + row]:
                continue
            some_places[waiting] = row
            waiting += 1
        if waiting == TOGETHER or (row == count and waiting):
            _keys(rows, some_places, query, metric, length, addresses, norms, keys)
            for i in range(waiting):
                if np.isnan(keys[i]):
                    return -1
                name = first + some_places[i]
                if names.shape[0]:
                    name = names[name]
                if _further(values[0], found[0], keys[i], name):
                    _sink(values, found, found.shape[0], keys[i], name)
            done += waiting
            waiting = 0
    return done


@compiled()
def ordered(found: Any, values: Any, filled: int, metric: int) -> None:
    """End what ``exhaustive`` began: ``filled`` answers, sorted."""
    _finish(found, values, filled, metric)


@compiled(error_model="numpy")
def finish(
    rows: Any, names: Any, coded: Any, queries: Any, metric: int, widen: float, asked: Any, heaps: Any, squares: Any, ids: Any,
    counts: Any, numbers: Any, first: int, last: int, found: Any, values: Any, candidates: Any, computed: Any, margins: Any,
) -> None:  # fmt: skip
    """Answer queries ``first`` to ``last`` from what all parts of the scan kept.

    Args:
        rows: all of them, as ``dtypes.value`` reads them.
        names: see ``nearest``.
        coded: quantise.Coded.
        queries: float64, (queries, dim).
        metric: 0 l2, 1 ip, 2 cosine.
        widen: see scan.
        asked: queries.EncodedQueries.
        heaps: float64, (parts, queries, k), see scan.State; so are the next three.
        squares: float64, (parts, queries, room).
        ids: int64, alike.
        counts: int64, (parts, queries).
        numbers: int64, (queries,): where the answer of each goes in the arrays below.
        first: query.
        last: query.
        found: int64, (all queries, k), written, as are the rest.
        values: float64, (queries, k).
        candidates: int64, (queries,); -1 where a part had no room.
        computed: int64, (queries,); ``CHANGED`` where a row is not as it was.
        margins: float64, (queries,).
    """
    parts, k, errors = heaps.shape[0], found.shape[1], coded.errors
    uppers = np.empty(parts * k)
    for query in range(first, last):
        total = 0
        for part in range(parts):
            if counts[part, query] < 0:
                total = -1
                break
            total += counts[part, query]
            uppers[part * k : part * k + k] = heaps[part, query]
        if total < 0:
            continue  # its candidates stay -1
        number = numbers[query]
        base, gain, blur, e_q = asked.bases[query], asked.gains[query], asked.blurs[query], asked.errors[query]
        bar = heaps[0, query, 0] if parts == 1 else np.sort(uppers)[k - 1]  # np.partition takes 4 s to compile
        bar = bounds.reach(bar, widen, blur)
        low, high, near = np.empty(total), np.empty(total), np.empty(total, dtype=np.int64)
        left = 0
        for part in range(parts):
            for i in range(counts[part, query]):
                row = ids[part, query, i]
                square, e = squares[part, query, i], np.float64(errors[row])
                lower = bounds.lower(square, e, e_q)
                if lower <= bar:
                    low[left], near[left] = lower, row
                    high[left] = bounds.upper(bounds.most(square, coded.terms[row], e, asked.lengths2[query]), e, e_q)
                    left += 1
        done, rest = nearest(
            rows, near[:left], low[:left], high[:left], names, queries[query], metric, base, gain, widen, blur,
            found[number], values[number],
        )  # fmt: skip
        if done != CHANGED and not _consistent(uppers, left, values[number], metric, base, gain, bar):
            continue  # its candidates stay -1
        candidates[number], computed[number] = left, done
        margins[number] = margin(values[number, k - 1], min(rest, bar), base, gain, metric)


@compiled()
def _consistent(uppers: Any, left: int, values: Any, metric: int, base: float, gain: float, bar: float) -> bool:
    """What holds of every answer: the k rows with the smallest upper bounds are candidates, so the k-th neighbor is no further than these.

    Where it does not, a candidate was lost or a bound was not a row's: nothing of the scan is believed then, and all rows compete.
    """
    k = values.shape[0]
    known = min(k, np.count_nonzero(uppers < np.inf))
    if left < known:
        return False
    return known < k or _distance(values[k - 1] if metric == 0 else -values[k - 1], metric, base, gain) <= bar


@compiled(error_model="numpy")
def margin(last: float, lower: float, base: float, gain: float, metric: int) -> float:
    """How much further than the k-th value every row is that was not computed.

    Args:
        last: the k-th value; infinite where there are fewer.
        lower: the smallest lower bound of the rows that were not computed.
        base: see queries.EncodedQueries.
        gain: see there.
        metric: 0 for plain (not squared) distances, else in the metric's own values.
    """
    if not lower < np.inf or not abs(last) < np.inf:
        return np.inf
    if metric == 0:
        return max(0.0, lower / math.sqrt(gain) - math.sqrt(last))
    return max(0.0, last - (lower * lower - base) / gain)
