"""One pass over the codes: every row that its bound cannot exclude becomes a candidate.

For each query a heap holds the k smallest upper bounds of distances seen so far; from its top follows T.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import bounds, products
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.llvm import alive, borrowed, excluded, trailing_zeros
from knnscope.certified.cpu.quantise import PANEL
from knnscope.certified.cpu.queries import BASE

BATCH = 2
"""Panels that stay in the first-level cache while the tiles of queries pass."""
MARK = (11, 32)
"""The first of ``admit``'s marks: so many times k, and so many."""
dots: Any = None
begin: Any = None
end: Any = None
"""The products of one kind of processor: ``_with`` gives each compiled scan its own."""


class State(NamedTuple):
    """What a part of the scan knows of each query.

    heaps: float64, (queries, k): upper bounds of distances. squares: float64, (queries, room): lower bounds of candidates' |y - p|^2.
    ids: int64, alike. counts: int64, (queries,): candidates; -1 where there was no room for all, and the query has to be answered
    otherwise.
    """

    heaps: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


@compiled(inline="always")
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
def _compact(squares: Any, ids: Any, count: int, errors: Any, query: int, e_q: float, bar: float) -> int:
    """Keep those of a query's candidates that a smaller bar leaves."""
    left = 0
    for i in range(count):
        if bounds.lower(squares[query, i], errors[ids[query, i]], e_q) <= bar:
            squares[query, left] = squares[query, i]
            ids[query, left] = ids[query, i]
            left += 1
    return left


@compiled(inline="always")
def tighten(
    bar: float, own: int, p2: float, e_q: float, blur: float, widen: float, bars: Any, slopes: Any, limits: Any
) -> None:
    """A smaller T; see ``admit``."""
    bars[own] = bar
    a = bounds.reach(bar, widen, blur) + e_q * bounds.WIDEN
    slopes[own] = bounds.coefficient(a)
    limits[own] = bounds.limit(a, p2)


@compiled(inline="always")
def admit(
    mask: int, query: int, own: int, place: int, row0: int, rows: int, digits: int, out: Any, scales: Any, errors: Any,
    terms: Any, p2: float, e_q: float, blur: float, step: float, widen: float, allowed: Any, heaps: Any, squares: Any,
    ids: Any, counts: Any, marks: Any, bars: Any, slopes: Any, limits: Any,
) -> None:  # fmt: skip
    """Rows that the test left in become candidates of a query, and T shrinks.

    Args:
        mask: a bit for each row from ``row0`` on.
        query: its number.
        own: its place in what follows ``allowed``.
        place: its place in the tile, whose products are ``out``.
        row0: see ``mask``.
        rows: without padding.
        digits: 1 or 2.
        out: int32, (vectors, rows at once).
        scales: see quantise.Coded, as ``errors`` and ``terms``.
        errors: see there.
        terms: see there.
        p2: |p|^2; with ``e_q``, ``blur`` and ``step``, t, see queries.EncodedQueries.
        e_q: see there.
        blur: see there.
        step: see there.
        widen: see ``_scan``, as ``allowed``.
        allowed: see there.
        heaps: as in State, as the next three; this thread's own.
        squares: see there.
        ids: see there.
        counts: see there.
        marks: int64, candidates at which those that a smaller T excludes are dropped: few, since what is written leaves the cache with
            every pass; more where they do not go.
        bars: float64, the largest of the k smallest upper bounds.
        slopes: float32, C.
        limits: float32, V.
    """
    room = ids.shape[1]
    while mask:
        r = trailing_zeros(mask)
        mask &= mask - 1
        row = row0 + r
        if row >= rows:
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
            bar = bounds.reach(bars[own], widen, blur)
            now = _compact(squares, ids, now, errors, own, e_q, bar)
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
                tighten(heaps[own, 0], own, p2, e_q, blur, widen, bars, slopes, limits)


@compiled()
def first_marks(size: int, state: Any) -> Any:
    """``marks`` of ``admit`` to begin with."""
    return np.full(size, min(MARK[0] * state.heaps.shape[1] + MARK[1], state.ids.shape[1]), dtype=np.int64)


@compiled()
def ready(kept: Any, far: Any, first: int, last: int, limits: Any) -> None:
    """Nothing found yet of queries ``first`` to ``last``: T is infinite, and those that are far keep no row."""
    kept.heaps[:] = np.inf
    for query in range(first, last):
        own = query - first
        kept.counts[own] = -1 if far[query] else 0
        limits[own] = np.float32(-np.inf if far[query] else np.inf)


@compiled()
def hand_over(
    kept: Any, bars: Any, first: int, last: int, errors: Any, query_errors: Any, blurs: Any, widen: float, state: Any
) -> None:  # fmt: skip
    """What is left of a thread's candidates of queries ``first`` to ``last``, by the smallest T that it knows.

    Args:
        kept: see ``_scan``.
        bars: see ``admit``.
        first: query.
        last: query.
        errors: see quantise.Coded.
        query_errors: e_q, see queries.EncodedQueries.
        blurs: see there.
        widen: see ``_scan``.
        state: written.
    """
    for query in range(first, last):
        own, left = query - first, 0
        bar = bounds.reach(bars[own], widen, blurs[query])
        for i in range(kept.counts[own]):
            square, row = kept.squares[own, i], kept.ids[own, i]
            if bounds.lower(square, errors[row], query_errors[query]) <= bar:
                state.squares[query, left], state.ids[query, left] = square, row
                left += 1
        state.counts[query] = min(left, kept.counts[own])  # -1 stays
        for place in range(kept.heaps.shape[1]):
            state.heaps[query, place] = kept.heaps[own, place]


def _scan(
    coded: Any, rows: int, first: int, last: int, asked: Any, count: int, digits: int, first_tile: int, last_tile: int,
    widen: float, allowed: Any, kept: Any, state: Any,
) -> None:  # fmt: skip
    """Scan panels ``first`` to ``last`` for the queries of some tiles.

    Args:
        coded: quantise.Coded.
        rows: without padding.
        first: panel.
        last: panel.
        asked: queries.EncodedQueries.
        count: query vectors in a tile.
        digits: 1 or 2.
        first_tile: of the queries.
        last_tile: of the queries.
        widen: what rounding in the definition may multiply a distance with.
        allowed: bool, (0 or 1 or queries, rows): rows that may be answers; (0, rows) for all.
        kept: State of these queries, this thread's own: lines of ``state`` are in another processor's cache, where the candidates are
            ranked. Written over.
        state: written.
    """
    each = count // digits
    low, high = first_tile * each, min(last_tile * each, state.counts.shape[0])
    codes, scales, errors, terms = (
        borrowed(coded.codes), borrowed(coded.scales), borrowed(coded.errors), borrowed(coded.terms)
    )  # fmt: skip
    packed, biases, steps = borrowed(asked.packed), borrowed(asked.biases), borrowed(asked.steps)
    lengths2, query_errors, blurs = borrowed(asked.lengths2), borrowed(asked.errors), borrowed(asked.blurs)
    allowed = borrowed(allowed)
    size = (last_tile - first_tile) * each
    raw = np.empty(PANEL * count + 16, dtype=np.int32)
    skip = (-raw.ctypes.data % 64) // 4
    own = (
        raw[skip : skip + PANEL * count].reshape(count, PANEL), np.zeros(each, dtype=np.uint32), np.full(size, np.inf),
        np.zeros(size, dtype=np.float32), np.full(size, np.float32(-np.inf), dtype=np.float32), first_marks(size, state),
    )  # fmt: skip
    out, masks = borrowed(own[0]), borrowed(own[1])
    bars, slopes, limits, marks = borrowed(own[2]), borrowed(own[3]), borrowed(own[4]), borrowed(own[5])
    heaps, squares = borrowed(kept.heaps), borrowed(kept.squares)
    ids, counts = borrowed(kept.ids), borrowed(kept.counts)
    ready(kept, asked.far, low, high, limits)
    lines = (16 + last_tile - first_tile - 1) // (last_tile - first_tile)
    begin()
    for panels in range(first, last, BATCH):
        for tile in range(first_tile, last_tile):
            base, ahead = (tile - first_tile) * each, (tile - first_tile) * lines
            for panel in range(panels, min(panels + BATCH, last)):
                row0 = panel * PANEL
                dots(count, codes, panel * 2, packed, tile, biases, ahead, min(lines, max(0, 16 - ahead)), out)
                some = excluded(
                    out.ctypes.data, count, digits, scales.ctypes.data + 4 * row0, errors.ctypes.data + 4 * row0,
                    terms.ctypes.data + 4 * row0, steps.ctypes.data + 4 * (low + base), slopes.ctypes.data + 4 * base,
                    limits.ctypes.data + 4 * base, masks.ctypes.data,
                )  # fmt: skip
                while some:
                    place = trailing_zeros(some)
                    some &= some - 1
                    mask = np.int64(masks[place])
                    query, here = low + base + place, base + place
                    admit(
                        mask, query, here, place, row0, rows, digits, out, scales, errors, terms, lengths2[query],
                        query_errors[query], blurs[query], np.float64(steps[query]) * 0.5, widen, allowed, heaps,
                        squares, ids, counts, marks, bars, slopes, limits,
                    )  # fmt: skip
    end()
    hand_over(kept, bars, low, high, errors, query_errors, blurs, widen, state)
    alive(own)


def _with(kind: str, dots: Any, begin: Any, end: Any) -> Any:
    """The scan with one kind's products."""
    return specialised(_scan, f"scan_{kind}", dots=dots, begin=begin, end=end)


SCANS = {
    "amx": _with("amx", products.amx, products.begin_amx, products.end_amx),
    "vnni": _with("vnni", products.vnni, products.nothing, products.nothing),
    "avx2": _with("avx2", products.avx2, products.nothing, products.nothing),
    "portable": _with("portable", products.portable, products.nothing, products.nothing),
}
