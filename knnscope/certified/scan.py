"""One pass over the codes: every row that its bound cannot exclude becomes a candidate.

For each query a heap holds the k smallest upper bounds of distances seen so far; from its top follows T.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import certificate, products
from knnscope.certified.asked import BASE
from knnscope.certified.codes import PANEL
from knnscope.certified.compiled import compiled, specialised
from knnscope.certified.emit import excluded, trailing_zeros

BATCH = 2
"""Panels that stay in the first-level cache while the tiles of queries pass."""
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
def _compact(squares: Any, ids: Any, errors: Any, query: int, e_q: float, bar: float) -> int:
    """Keep the candidates of a query that a smaller bar leaves."""
    left = 0
    for i in range(squares.shape[1]):
        if certificate.lower(squares[query, i], errors[ids[query, i]], e_q) <= bar:
            squares[query, left] = squares[query, i]
            ids[query, left] = ids[query, i]
            left += 1
    return left


@compiled(inline="always")
def admit(
    mask: int, query: int, own: int, place: int, row0: int, rows: int, digits: int, out: Any, scales: Any, errors: Any,
    terms: Any, p2: float, e_q: float, blur: float, step: float, widen: float, allowed: Any, heaps: Any, squares: Any,
    ids: Any, counts: Any, bars: Any, slopes: Any, limits: Any,
) -> None:  # fmt: skip
    """Rows that the test left in become candidates of a query, and T shrinks.

    Args:
        mask: a bit for each row from ``row0`` on.
        query: its number in the state.
        own: its place in ``bars``, ``slopes`` and ``limits``.
        place: its place in the tile, whose products are ``out``.
        row0: see ``mask``.
        rows: without padding.
        digits: 1 or 2.
        out: int32, (vectors, rows at once).
        scales: see codes.Coded, as ``errors`` and ``terms``.
        errors: see there.
        terms: see there.
        p2: |p|^2; with ``e_q``, ``blur`` and ``step``, t, see asked.Asked.
        e_q: see there.
        blur: see there.
        step: see there.
        widen: see ``_scan``, as ``allowed``.
        allowed: see there.
        heaps: see State, as the next three.
        squares: see there.
        ids: see there.
        counts: see there.
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
        least, most = certificate.squares(terms[row], e, p2, np.float64(scales[row]) * step * dot)
        now = counts[query]
        if now == room:
            bar = certificate.reach(bars[own], widen, blur)
            now = _compact(squares, ids, errors, query, e_q, bar)
            if 4 * now > 3 * room:
                counts[query] = -1
                limits[own] = np.float32(-np.inf)
                break
        squares[query, now] = least
        ids[query, now] = row
        counts[query] = now + 1
        near = bars[own] - (e + e_q) * certificate.WIDEN
        if near > 0 and most < near * near:
            replace_top(heaps, query, certificate.upper(most, e, e_q))
            bars[own] = heaps[query, 0]
            if bars[own] < np.inf:
                a = certificate.reach(bars[own], widen, blur) + e_q * certificate.WIDEN
                slopes[own] = certificate.coefficient(a)
                limits[own] = certificate.limit(a, p2)


def _scan(
    coded: Any, rows: int, first: int, last: int, asked: Any, count: int, digits: int, first_tile: int, last_tile: int,
    widen: float, allowed: Any, state: Any,
) -> None:  # fmt: skip
    """Scan panels ``first`` to ``last`` for the queries of some tiles.

    Args:
        coded: codes.Coded.
        rows: without padding.
        first: panel.
        last: panel.
        asked: asked.Asked.
        count: query vectors in a tile.
        digits: 1 or 2.
        first_tile: of the queries.
        last_tile: of the queries.
        widen: what rounding in the definition may multiply a distance with.
        allowed: bool, (0 or 1 or queries, rows): rows that may be answers; (0, rows) for all.
        state: written.
    """
    each = count // digits
    low, high = first_tile * each, min(last_tile * each, state.counts.shape[0])
    # locals, since a view of a member costs two atomic additions each time
    codes, scales, errors, terms = coded
    packed, biases, steps, lengths2, query_errors, _, _, blurs, _ = asked
    heaps, squares, ids, counts = state
    raw = np.empty(PANEL * count + 16, dtype=np.int32)
    skip = (-raw.ctypes.data % 64) // 4
    out = raw[skip : skip + PANEL * count].reshape(count, PANEL)
    masks = np.zeros(each, dtype=np.uint32)
    bars = np.full((last_tile - first_tile) * each, np.inf)  # the largest of the k smallest upper bounds
    slopes = np.zeros((last_tile - first_tile) * each, dtype=np.float32)  # C
    limits = np.full((last_tile - first_tile) * each, np.float32(-np.inf), dtype=np.float32)  # V
    for query in range(low, high):
        if counts[query] >= 0:
            limits[query - low] = np.float32(np.inf)
    begin()
    for panels in range(first, last, BATCH):
        for tile in range(first_tile, last_tile):
            base = (tile - first_tile) * each
            for panel in range(panels, min(panels + BATCH, last)):
                row0 = panel * PANEL
                dots(count, codes, panel * 2, packed, tile, biases, tile == first_tile, out)
                some = excluded(
                    out.ctypes.data, count, digits, scales.ctypes.data + 4 * row0, errors.ctypes.data + 4 * row0,
                    terms.ctypes.data + 4 * row0, steps.ctypes.data + 4 * (low + base), slopes.ctypes.data + 4 * base,
                    limits.ctypes.data + 4 * base, masks.ctypes.data,
                )  # fmt: skip
                while some:
                    place = trailing_zeros(some)
                    some &= some - 1
                    mask = np.int64(masks[place])
                    query, own = low + base + place, base + place
                    admit(
                        mask, query, own, place, row0, rows, digits, out, scales, errors, terms, lengths2[query],
                        query_errors[query], blurs[query], np.float64(steps[query]) * 0.5, widen, allowed, heaps,
                        squares, ids, counts, bars, slopes, limits,
                    )  # fmt: skip
    end()


def _with(kind: str, dots: Any, begin: Any, end: Any) -> Any:
    """The scan with one kind's products."""
    return specialised(_scan, f"scan_{kind}", dots=dots, begin=begin, end=end)


SCANS = {
    "amx": _with("amx", products.amx, products.begin_amx, products.end_amx),
    "vnni": _with("vnni", products.vnni, products.nothing, products.nothing),
    "avx2": _with("avx2", products.avx2, products.nothing, products.nothing),
    "portable": _with("portable", products.portable, products.nothing, products.nothing),
}
