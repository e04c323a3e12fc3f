"""Candidates ranked by the definition of search/definition.py: nearest by their bounds first, sixteen at a time, until a bound ends it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds
from knnscope.certified.cpu.exact_sums import DIFFERENCES, PRODUCTS, SQUARES, TOGETHER, sums
from knnscope.certified.cpu.fetching import fetched
from knnscope.certified.cpu.heaps import further, heap_of, settle, sink, smallest, sort
from knnscope.certified.cpu.jit import compiled

CHANGED = -2
"""Of a query: a row's distance lies outside the bounds that its code gives, so it is not the row that the index was built over."""


class Scale(NamedTuple):
    """From a value as defined to the distance that bounds are of, for one query: see queries.EncodedQueries."""

    base: float
    gain: float
    blur: float


class Near(NamedTuple):
    """Candidates of a query, in any order: int64 row numbers, float64 lower and upper bounds, each (candidates,)."""

    numbers: npt.NDArray[np.int64]
    lowers: npt.NDArray[np.float64]
    uppers: npt.NDArray[np.float64]


class Batch(NamedTuple):
    """Queries that are answered together.

    queries: float64, (queries, dim). numbers: int64, (queries,): where the answer of each goes. first, last: those to answer now.
    """

    queries: npt.NDArray[np.float64]
    numbers: npt.NDArray[np.int64]
    first: int
    last: int


class Answers(NamedTuple):
    """What a search writes, for all of its queries.

    ids: int64, (queries, k). values: float64, (queries, k). candidates: int64, (queries,); -1 where a part had no room. computed: int64,
    (queries,); ``CHANGED`` where a row is not as it was. margins: float64, (queries,).
    """

    ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    margins: npt.NDArray[np.float64]


def blank_answers(queries: int, k: int) -> Answers:
    """Nothing answered."""
    candidates, computed, margins = np.empty(queries, np.int64), np.zeros(queries, np.int64), np.empty(queries)
    candidates.fill(-1)
    margins.fill(np.inf)
    return Answers(np.empty((queries, k), np.int64), np.empty((queries, k)), candidates, computed, margins)


class Pool(NamedTuple):
    """Memory for the values of sixteen rows: their numbers and addresses, int64, (16,); keys, squared lengths and bounds, float64, (16,).

    own: int64, (16,): 0 to 15.
    """

    places: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]
    addresses: npt.NDArray[np.int64]
    keys: npt.NDArray[np.float64]
    norms: npt.NDArray[np.float64]
    lowers: npt.NDArray[np.float64]
    uppers: npt.NDArray[np.float64]


class Asked(NamedTuple):
    """A query that is ranked for: float64, (dim,), its length as defined, Scale, Pool to work in, a key that no answer is above, and a distance."""

    query: npt.NDArray[np.float64]
    length: float
    scale: Scale
    pool: Pool
    most: float
    reach: float


@compiled()
def new_pool() -> Any:
    """Memory for one thread."""
    places, addresses = np.zeros(TOGETHER, dtype=np.int64), np.empty(TOGETHER, dtype=np.int64)
    return Pool(
        places,
        np.arange(TOGETHER),
        addresses,
        np.empty(TOGETHER),
        np.empty(TOGETHER),
        np.empty(TOGETHER),
        np.empty(TOGETHER),
    )


@compiled(apart=True, unrolled=True)
def keys_of(table: Any, query: Any, length: float, pool: Any) -> None:
    """Values as defined of sixteen rows, as keys that ascend: ip and cosine with the other sign; not numbers where a file does not give the rows."""
    if table.handle < 0:
        _keys_of(table.rows, pool.places, (query, table.metric, length), pool)
        return
    rows = np.empty((TOGETHER, table.rows.shape[1]), dtype=table.rows.dtype)
    if fetched(pool.places, (table.handle, table.start), rows.ctypes.data, rows.shape[1] * rows.itemsize):
        _keys_of(rows, pool.own, (query, table.metric, length), pool)
    else:
        pool.keys[:] = np.nan


@compiled()
def _keys_of(rows: Any, places: Any, asked: Any, pool: Any) -> None:
    """The same of rows in memory."""
    (query, metric, length), keys, norms = asked, pool.keys, pool.norms
    sums(rows, places, query, PRODUCTS if metric else DIFFERENCES, pool.addresses, keys)
    if metric == 2:
        sums(rows, places, query, SQUARES, pool.addresses, norms)
        for i in range(TOGETHER):
            scale = math.sqrt(norms[i]) * length
            # a quotient by what has overflowed would be 0, as if it were known
            keys[i] = np.nan if scale == np.inf else keys[i] / scale + 0.0 if scale != 0 else 0.0
    if metric:
        for i in range(TOGETHER):
            keys[i] = -keys[i]


@compiled(inline=True)
def distance_of(key: float, metric: int, scale: Any) -> float:
    """The scaled distance that bounds are of, from a value's key; not a number where that is none."""
    square = scale.base + scale.gain * (key if metric == 0 else -key)
    return math.sqrt(square) if not square < 0.0 else 0.0


@compiled()
def length_of(query: Any) -> float:
    """The norm as defined."""
    total = 0.0
    for component in query:
        total += component * component
    return math.sqrt(total)


@compiled(apart=True)
def measured(table: Any, asked: Any, count: int, found: Any, values: Any) -> int:
    """Let rows compete.

    Args:
        table: Table.
        asked: Asked; the first ``count`` rows and bounds of its pool.
        count: 1 to 16.
        found: int64, (k,), the names of the heap so far.
        values: float64, (k,), its keys.

    Returns:
        The first row that lies outside its bounds; -1 if none does.
    """
    pool, scale, metric, names = asked.pool, asked.scale, table.metric, table.names
    places, keys = pool.places, pool.keys
    for i in range(count, TOGETHER):
        places[i] = places[count - 1]
    keys_of(table, asked.query, asked.length, pool)
    for i in range(count):
        name, key = places[i], keys[i]
        distance = distance_of(key, metric, scale)
        if not pool.lowers[i] <= bounds.reach(distance, table.widen, scale.blur) or not distance <= bounds.reach(
            pool.uppers[i], table.widen, scale.blur
        ):
            return name
        if names.shape[0]:
            name = names[name]
        if further(values[0], found[0], key, name):
            sink(values, found, found.shape[0], key, name)
    return -1


@compiled()
def take(table: Any, near: Any, asked: Any, found: Any, values: Any) -> tuple[int, float]:
    """Let candidates compete, those of small lower bounds first, for as long as bounds do not exclude them.

    Args:
        table: Table.
        near: Near.
        asked: Asked.
        found: int64, (k,), the names of the heap so far.
        values: float64, (k,), its keys.

    Returns:
        How many were computed, or ``CHANGED``, and then ``found[0]`` is that row; and the smallest lower bound of those that were not:
        infinite if all were.
    """
    count, pool, scale = near.numbers.shape[0], asked.pool, asked.scale
    order, done = heap_of(near.lowers), 0
    while done < count:
        lower = near.lowers[order[0]]
        key, bar = min(values[0], asked.most), asked.reach
        if key < np.inf:
            bar = min(bar, bounds.reach(distance_of(key, table.metric, scale), table.widen, scale.blur))
        if lower > bar:
            return done, lower
        some = 0
        while some < min(TOGETHER, count - done) and not near.lowers[order[0]] > bar:
            chosen = order[0]
            pool.places[some], pool.lowers[some], pool.uppers[some] = (
                near.numbers[chosen],
                near.lowers[chosen],
                near.uppers[chosen],
            )
            some += 1
            order[0] = order[count - done - some]
            settle(near.lowers, order, 0, count - done - some)
        wrong = measured(table, asked, some, found, values)
        if wrong >= 0:
            found[0] = wrong
            return CHANGED, np.inf
        done += some
    return done, np.inf


@compiled()
def nearest(table: Any, near: Any, asked: Any, found: Any, values: Any) -> tuple[int, float]:
    """The k nearest candidates of one query, sorted by value and name; as ``take``, but ``found`` is -1 and ``values`` infinite where there are fewer."""
    found[:], values[:] = np.iinfo(np.int64).max, np.inf
    done, rest = take(table, near, asked, found, values)
    if done != CHANGED:
        finish_heap(found, values, min(found.shape[0], near.numbers.shape[0]), table.metric)
    return done, rest


@compiled()
def finish_heap(found: Any, values: Any, filled: int, metric: int) -> None:
    """A heap of keys becomes an answer: sorted, values instead of keys, and no row where there are fewer."""
    sort(values, found)
    if metric:
        for i in range(filled):
            values[i] = -values[i]
    found[filled:] = -1
    values[filled:] = -np.inf if metric else np.inf


@compiled(apart=True)
def exhaustive(table: Any, first: int, query: Any, mask: Any, found: Any, values: Any) -> int:
    """Let rows compete without asking a bound.

    Args:
        table: Table of some rows only, those from number ``first`` on; names of all rows.
        first: see there.
        query: float64, (dim,).
        mask: bool, of all rows, or (0,).
        found: int64, (k,): the heap so far; to begin with the largest number and, in ``values``, infinity.
        values: float64, (k,).

    Returns:
        How many were computed, -1 if one is not a number.
    """
    length, pool = length_of(query), new_pool()
    places, keys = pool.places, pool.keys
    done = waiting = 0
    count, names = table.rows.shape[0], table.names
    for row in range(count + 1):
        if row < count:
            if mask.shape[0] and not mask[first + row]:
                continue
            places[waiting] = row
            waiting += 1
        if waiting == TOGETHER or (row == count and waiting):
            keys_of(table, query, length, pool)
            for i in range(waiting):
                key = keys[i]
                if np.isnan(key):
                    return -1
                name = first + places[i]
                if names.shape[0]:
                    name = names[name]
                if further(values[0], found[0], key, name):
                    sink(values, found, found.shape[0], key, name)
            done += waiting
            waiting = 0
    return done


@compiled()
def ordered(found: Any, values: Any, filled: int, metric: int) -> None:
    """End what ``exhaustive`` began: ``filled`` answers, sorted."""
    finish_heap(found, values, filled, metric)


@compiled(apart=True)
def finish(table: Any, coded: Any, asked: Any, state: Any, batch: Any, answers: Any) -> None:
    """Answer some queries from what all parts of the scan kept.

    Args:
        table: Table.
        coded: quantise.Coded.
        asked: queries.EncodedQueries.
        state: scan.State of every part: arrays with one dimension more, the parts.
        batch: Batch.
        answers: Answers, written.
    """
    uppers = np.empty(state.heaps.shape[0] * state.heaps.shape[2])
    for query in range(batch.first, batch.last):
        total = 0
        for part in range(state.counts.shape[0]):
            if state.counts[part, query] < 0:
                total = -1
                break
            total += state.counts[part, query]
        if total >= 0:  # else its candidates stay -1
            _finish_one(query, total, uppers, (table, coded, asked, state, batch, answers))


@compiled()
def _finish_one(query: int, total: int, uppers: Any, given: Any) -> None:
    """``finish`` of one query, so that the memory of its ``total`` candidates is given back before the next; ``given`` is what ``finish`` is given."""
    table, coded, asked, state, batch, answers = given
    heaps, squares, ids, counts = state.heaps, state.squares, state.ids, state.counts
    errors, terms = coded.errors, coded.terms
    parts, k = heaps.shape[0], heaps.shape[2]
    for part in range(parts):
        uppers[part * k : part * k + k] = heaps[part, query]
    number = batch.numbers[query]
    scale, e_q = Scale(asked.bases[query], asked.gains[query], asked.blurs[query]), asked.errors[query]
    bar = heaps[0, query, 0] if parts == 1 else smallest(uppers, k)
    bar = bounds.reach(bar, table.widen, scale.blur)
    low, high, rows = np.empty(total), np.empty(total), np.empty(total, dtype=np.int64)
    left, p2 = 0, asked.lengths2[query]
    for part in range(parts):
        for i in range(counts[part, query]):
            row = ids[part, query, i]
            square, e = squares[part, query, i], np.float64(errors[row])
            lower = bounds.lower(square, e, e_q)
            if lower <= bar:
                low[left], rows[left] = lower, row
                most = bounds.most(square, terms[row], e, p2)
                high[left] = bounds.upper(most, e, e_q)
                left += 1
    near = Near(rows[:left], low[:left], high[:left])
    ranked = Asked(batch.queries[query], length_of(batch.queries[query]), scale, new_pool(), np.inf, np.inf)
    done, rest = nearest(table, near, ranked, answers.ids[number], answers.values[number])
    if done != CHANGED and not _consistent(uppers, left, answers.values[number], table.metric, scale, bar):
        return  # its candidates stay -1
    answers.candidates[number], answers.computed[number] = left, done
    answers.margins[number] = margin(answers.values[number, k - 1], min(rest, bar), scale, table.metric)


@compiled()
def _consistent(uppers: Any, left: int, values: Any, metric: int, scale: Any, bar: float) -> bool:
    """What holds of every answer: the k rows with the smallest upper bounds are candidates, so the k-th neighbor is no further than these.

    Where it does not, a candidate was lost or a bound was not a row's: nothing of the scan is believed then, and all rows compete.
    """
    k = values.shape[0]
    known = 0
    for upper in uppers:
        known += known < k and upper < np.inf
    if left < known:
        return False
    return known < k or distance_of(values[k - 1] if metric == 0 else -values[k - 1], metric, scale) <= bar


@compiled()
def margin(last: float, lower: float, scale: Any, metric: int) -> float:
    """How much further than the k-th value every row is that was not computed.

    Args:
        last: the k-th value; infinite where there are fewer.
        lower: the smallest lower bound of the rows that were not computed.
        scale: Scale.
        metric: 0 for plain (not squared) distances, else in the metric's own values.
    """
    if not lower < np.inf or not abs(last) < np.inf:
        return np.inf
    if metric == 0:
        return max(0.0, lower / math.sqrt(scale.gain) - math.sqrt(last))
    return max(0.0, last - (lower * lower - scale.base) / scale.gain)
