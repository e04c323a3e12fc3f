"""Exact search by NumPy alone, for as long as there is no compiled code.

A matrix product gives every value up to a bound of its rounding, whatever the order of its sums; rows that the bound cannot exclude are
ranked by the definition (search/definition.py). First in float32, where rows have no more digits; queries of which that leaves many, in
float64; where that leaves many too, or numbers are so large or small that no bound holds, all rows compete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import forks
from knnscope.certified.dtypes import BFLOAT, widened
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, Within, changed, overflows, too_many
from knnscope.checks import COMPONENTS, check_finite
from knnscope.search.rounding import gamma, norms

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

NARROW = frozenset((*map(np.dtype, ("float32", "float16", "int8", "uint8")), BFLOAT))
"""Types whose numbers float32 holds."""
BLOCK = 1 << 20
"""Rows of which products are in memory at once."""
PRODUCTS = 1 << 22
"""Products in memory at once."""
QUERIES = 256
"""Queries that share a pass over the rows."""
KEPT = 1 << 22
"""Candidates of a pass, with bounds, in memory at once."""
SHARE, FEW = 64, 1024
"""Of a query one row in so many may be left, beside four times k and a few, else bounds say too little."""
SMALL = 2.0**-480
"""Lengths from here on have squares that lose no digits."""


@dataclass(frozen=True, slots=True)
class Precision:
    """What products are computed in.

    dtype: see there. unit: twice the unit roundoff, since threads of BLAS may round in another direction. least: the smallest normal number, to
    which they may flush. longest: of a row and a query together, such that no square overflows.
    """

    dtype: npt.DTypeLike
    unit: float
    least: float
    longest: float


SINGLE = Precision(np.float32, 2.0**-23, 2.0**-126, 2.0**60)
DOUBLE = Precision(np.float64, 2.0**-52, 2.0**-1022, 2.0**500)


class Asked(NamedTuple):
    """A query, float64, (dim,); its length; rows that may be answers, bool, (rows,), or None for all; and how many neighbors."""

    query: Float64
    length: float
    mask: npt.NDArray[np.bool_] | None
    k: int


class Left(NamedTuple):
    """Rows that a bound has not excluded, (candidates,), with bounds of their keys, and a lower bound of all others' keys."""

    rows: Int64
    lowers: Float64
    uppers: Float64
    rest: float


class Plain:
    """Rows as NumPy searches them: a ``Scanner``."""

    levels = "nothing; products by NumPy"

    def __init__(self, rows: npt.NDArray[Any], names: Int64, metric: str) -> None:
        """Measure the rows.

        Args:
            rows: (rows, dim), as ``rows.as_rows`` gives them; kept.
            names: what rows are called, (rows,); (0,) for their numbers.
            metric: l2, ip or cosine.

        Raises:
            KnnscopeError: a number that is not finite; names where.
        """
        self._rows, self._names, self._metric = np.asarray(rows), names, metric  # no longer a memory map's class
        step = max(1, COMPONENTS // rows.shape[1])
        self._lengths = np.concatenate(
            [norms(widened(rows[first : first + step])) for first in range(0, len(rows), step)]
        )
        self._longest = float(self._lengths.max())
        if not np.isfinite(self._longest):
            for first in range(0, len(rows), step):
                check_finite(widened(rows[first : first + step]), "rows", first)
        self._least = float(self._lengths[self._lengths > 0].min(initial=self._longest)) or 1.0

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows: their lengths."""
        return self._lengths.nbytes

    def prompt(self, queries: Any, k: int) -> Ranked | None:  # noqa: ARG002
        """Nothing is answered more promptly."""
        return None

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:  # noqa: ARG002
        """See ``Scanner``."""
        return None

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:  # noqa: ARG002 - BLAS has its own
        """Answer a request; see ``Scanner``."""
        count, masks = len(request.queries), request.allowed
        lengths = norms(request.queries) if count else np.empty(0)
        asked = [
            Asked(query, float(length), masks[min(i, len(masks) - 1)] if len(masks) else None, request.k)
            for i, (query, length) in enumerate(zip(request.queries, lengths, strict=True))
        ]
        answer = Ranked(
            np.full((count, request.k), -1, dtype=np.int64),
            np.full((count, request.k), np.inf if self._metric == "l2" else -np.inf),
            np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64), np.full(count, np.inf), ("plain",),
        )  # fmt: skip
        waiting = set(range(count))
        for precision in (SINGLE, DOUBLE) if self._rows.dtype in NARROW else (DOUBLE,):
            able = [i for i in sorted(waiting) if self._holds(precision, asked[i].length)]
            group = max(1, min(QUERIES, KEPT // self._room(request.k)))
            for first in range(0, len(able), group):
                some = able[first : first + group]
                for i, left in zip(some, self._filtered([asked[i] for i in some], precision), strict=True):
                    if left is not None:
                        self._rank(asked[i], left, i, answer)
                        waiting.discard(i)
        for i in sorted(waiting):
            mask = asked[i].mask
            rows = np.arange(len(self._rows)) if mask is None else np.flatnonzero(mask)
            self._rank(asked[i], Left(rows, np.empty(0), np.empty(0), np.inf), i, answer)
        return answer

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:  # noqa: ARG002 - BLAS has its own
        """Answer a request for all rows within a radius; see ``Scanner``."""
        queries, masks, total = request.queries, request.allowed, 0
        lengths = norms(queries) if len(queries) else np.empty(0)
        kinds = (SINGLE, DOUBLE) if self._rows.dtype in NARROW else (DOUBLE,)
        found: list[tuple[Float64, Int64]] = []
        computed = np.zeros(len(queries), dtype=np.int64)
        for i, query in enumerate(queries):
            mask = masks[min(i, len(masks) - 1)] if len(masks) else None
            precision = next((one for one in kinds if self._holds(one, float(lengths[i]))), None)
            asked, most, parts = Asked(query, float(lengths[i]), mask, 0), float(request.keys[i]), []
            own = 0
            for left in self._left(asked, most, precision):
                keys = self._held(left, query)
                computed[i] += len(keys)
                inside = keys <= most
                parts.append((keys[inside], left.rows[inside]))
                own, total = own + int(inside.sum()), total + int(inside.sum())
                if own > request.most_each:
                    raise too_many(own, request.most_each, i)
                if total > request.most:
                    raise too_many(total, request.most)
            keys, rows = (
                np.concatenate(some) for some in zip((np.empty(0), np.empty(0, np.int64)), *parts, strict=True)
            )
            names = self._names[rows] if len(self._names) else rows
            order = np.lexsort((names, keys))
            found.append((keys[order], names[order]))
        offsets = np.concatenate([[0], np.cumsum([len(keys) for keys, _ in found])]).astype(np.int64)
        keys, names = (np.concatenate(some) for some in zip((np.empty(0), np.empty(0, np.int64)), *found, strict=True))
        values = keys if self._metric == "l2" else -keys + 0.0
        return Within(offsets, names, values, computed, computed.copy(), ("plain",))

    def _left(self, asked: Asked, most: float, precision: Precision | None) -> Iterator[Left]:
        """Rows whose keys may be up to ``most``, some at a time; all where no bound holds."""
        step = max(1, COMPONENTS // self._rows.shape[1])
        for first in range(0, len(self._rows), step):
            some = self._rows[first : first + step]
            able = np.ones(len(some), dtype=np.bool_) if asked.mask is None else asked.mask[first : first + step].copy()
            lowers = uppers = np.empty(0)
            if precision is not None:
                query = asked.query.astype(precision.dtype)
                block = widened(some).astype(precision.dtype, copy=False)
                with forks.held_off():
                    products = (block @ query).astype(np.float64)
                keys, slack = self._keys(products, first, asked.length, precision)
                if not np.isfinite(keys).all():  # it was when the rows were measured
                    raise changed(first + int(np.argmin(np.isfinite(keys))))
                able &= keys - slack <= most
                lowers, uppers = (keys - slack)[able], (keys + slack)[able]
            yield Left(np.flatnonzero(able) + first, lowers, uppers, np.inf)

    def _held(self, left: Left, query: Float64) -> Float64:
        """Keys of some rows, each held to its bounds.

        Raises:
            KnnscopeError: a row was changed, or a value overflows.
        """
        found = self._defined(left.rows, query)
        if len(left.lowers):
            inside = (left.lowers <= found) & (found <= left.uppers)
            if not inside.all():
                raise changed(int(left.rows[np.argmin(inside)]))
        elif np.isnan(found).any():
            raise overflows(self._metric)
        return found

    def _room(self, k: int) -> int:
        """Candidates up to which bounds are of use."""
        return len(self._rows) // SHARE + 4 * k + FEW

    def _holds(self, precision: Precision, length: float) -> bool:
        """Whether bounds hold for a query of this length."""
        small = self._metric == "cosine" and (self._least < SMALL or 0 < length < SMALL)
        return not small and self._longest + length < precision.longest and self._gamma(precision) < 2.0**-6

    def _gamma(self, precision: Precision) -> float:
        """Of a product: d roundings in any order, and those of the query's components."""
        return gamma(self._rows.shape[1] + 4, precision.unit)

    def _filtered(self, asked: list[Asked], precision: Precision) -> list[Left | None]:
        """What bounds leave for each query; None where that is much."""
        queries = np.stack([one.query for one in asked]).astype(precision.dtype)
        seen = [_Seen(one, self._room(one.k)) for one in asked]
        dim = self._rows.shape[1]
        as_it_is = self._rows.dtype == precision.dtype and self._rows.flags.c_contiguous
        step = max(1, min(BLOCK, PRODUCTS // len(asked), len(self._rows) if as_it_is else COMPONENTS // dim))
        for first in range(0, len(self._rows), step):
            block = widened(self._rows[first : first + step]).astype(precision.dtype, copy=False)
            with forks.held_off():
                products = queries @ block.T
            for i, one in enumerate(seen):
                if not one.many:
                    keys, slack = self._keys(products[i].astype(np.float64), first, one.asked.length, precision)
                    if not np.isfinite(keys).all():  # it was when the rows were measured
                        raise changed(first + int(np.argmin(np.isfinite(keys))))
                    one.add(first, keys - slack, keys + slack)
        return [None if one.many else one.left() for one in seen]

    def _keys(self, products: Float64, first: int, length: float, precision: Precision) -> tuple[Float64, Any]:
        """Values of rows from ``first`` on, as keys that ascend, and how far each may be from the defined one."""
        dim, lengths = self._rows.shape[1], self._lengths[first : first + len(products)]
        coarse = self._gamma(precision)
        fine = gamma(2 * dim + 16, DOUBLE.unit)  # lengths, the keys, and the definition's own rounding
        lost = (2 * dim + 8) * 4 * precision.least * (1 + length + self._longest)  # where numbers underflow
        sizes = lengths * length
        if self._metric == "l2":
            squares = lengths * lengths + length * length
            return squares - 2 * products, 2 * coarse * sizes + (4 * fine * squares + 2 * lost)
        if self._metric == "ip":
            return -products, (coarse + fine) * sizes + lost
        keys = -np.divide(products, sizes, out=np.zeros_like(products), where=sizes != 0)
        return keys, coarse + 3 * fine + lost / (self._least * length or 1.0)

    def _rank(self, asked: Asked, left: Left, number: int, answer: Ranked) -> None:
        """Order candidates by the definition and write the answer of query ``number``."""
        keys, names = np.empty(0), np.empty(0, dtype=np.int64)
        step = max(1, COMPONENTS // self._rows.shape[1])
        for first in range(0, len(left.rows), step):
            rows = left.rows[first : first + step]
            found = self._defined(rows, asked.query)
            if len(left.lowers):
                inside = (left.lowers[first : first + step] <= found) & (found <= left.uppers[first : first + step])
                if not inside.all():
                    raise changed(int(rows[np.argmin(inside)]))
            elif np.isnan(found).any():
                raise overflows(self._metric)
            keys = np.concatenate([keys, found])
            names = np.concatenate([names, self._names[rows] if len(self._names) else rows])
            order = np.lexsort((names, keys))[: asked.k]
            keys, names = keys[order], names[order]
        answer.ids[number, : len(names)] = names
        answer.distances[number, : len(names)] = keys if self._metric == "l2" else -keys
        answer.candidates[number] = answer.computed[number] = len(left.rows)
        if len(names) == asked.k and np.isfinite(left.rest) and np.isfinite(keys[-1]):
            near, far = float(keys[-1]), left.rest
            if self._metric == "l2":
                near, far = near**0.5 * (1 + 2.0**-48), max(far, 0.0) ** 0.5 * (1 - 2.0**-48)
            answer.margin[number] = max(0.0, far - near)

    def _defined(self, rows: Int64, query: Float64) -> Float64:
        """Keys of some rows by the definition: ``cumsum`` adds one after the other."""
        x = widened(self._rows[rows]).astype(np.float64)
        if self._metric == "l2":
            return _sums((x - query) ** 2)
        products = _sums(x * query)
        if self._metric == "cosine":
            scale = np.sqrt(_sums(x * x)) * np.sqrt(_sums(query[None] ** 2))
            scale[np.isinf(scale)] = np.nan  # as in the definition
            products = np.divide(products, scale, out=np.zeros_like(products), where=scale != 0) + 0.0
        return -products


def _sums(terms: Float64) -> Float64:
    """Sums of lines in order; the definition begins with 0, so that no sum is -0."""
    sums: Float64 = terms.cumsum(axis=1)[:, -1] + 0.0
    return sums


class _Seen:
    """What a query has seen of the rows so far."""

    def __init__(self, asked: Asked, room: int) -> None:
        self.asked, self._room = asked, room
        self.many = False
        self._nearest, self._limit = np.empty(0), np.inf
        self._kept: list[tuple[Int64, Float64, Float64]] = []
        self._count = self._allowed = 0

    def add(self, first: int, lowers: Float64, uppers: Float64) -> None:
        """Look at rows from ``first`` on, with bounds of their keys."""
        k, mask = self.asked.k, self.asked.mask
        near = lowers <= self._limit
        if mask is not None:
            near &= mask[first : first + len(near)]
        self._allowed += len(near) if mask is None else int(np.count_nonzero(mask[first : first + len(near)]))
        nearest = np.concatenate([self._nearest, uppers[near]])
        if len(nearest) >= k:
            nearest = np.partition(nearest, k - 1)[:k]
            self._limit = float(nearest[-1])
            near &= lowers <= self._limit
        self._nearest = nearest
        rows = np.flatnonzero(near)
        self._kept.append((rows + first, lowers[rows], uppers[rows]))
        self._count += len(rows)
        if self._count > self._room:
            self._kept = [self._merged()]
            self._count = len(self._kept[0][0])
            self.many = self._count > self._room

    def _merged(self) -> tuple[Int64, Float64, Float64]:
        rows, lowers, uppers = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        near = lowers <= self._limit
        return rows[near], lowers[near], uppers[near]

    def left(self) -> Left:
        """What is left; the others' keys lie above the k-th smallest upper bound."""
        rows, lowers, uppers = self._merged()
        return Left(rows, lowers, uppers, self._limit if len(rows) < self._allowed else np.inf)
