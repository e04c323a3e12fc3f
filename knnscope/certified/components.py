"""The leading directions of rows, and how many of them a plane should have: both from a sample of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified import plane_bound
from knnscope.certified.dtypes import widened
from knnscope.certified.row_file import some as some_of

SAMPLE = 4096
"""Rows of the sample, more where there are many components: ten times as many."""
LOOKED_AT = 1024
"""Rows of it whose bounds are looked at."""
DEEP, DEEP_SHARE = 1 << 16, 4
"""Rows among which their neighbors are looked for; of few rows one in so many, but ``LEAST_DEEP``."""
LEAST_DEEP = 1 << 14
ASKED = 24
"""Rows of the sample that stand for queries."""
KS = (1, 10, 100)
"""Neighbors that the numbers of survivors are predicted for."""
BATCHES = (1, 3, 10, 100)
"""Sizes of batches that costs are predicted for: what is read is shared by all of a batch."""
STEP = 32
"""m is a multiple of it."""
SHARES = (1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0)
"""Of all components: the widths that are tried."""
LOOK = 5.0
"""Looking at the byte code of a row that the plane leaves, 25 ns in the caches and 50 beyond them, costs what reading so many times its bytes in
order does: by this the width is chosen, and by ``Prices.looks`` who is asked."""
UNLIKE = 2.5
"""Times as many rows survive where queries are not like rows: with MiniLM and usage examples as queries 6 times, with queries of the rows' own kind no
more."""
START = 0.3352
"""A row's step before it is fitted, in units of |z1| / sqrt(m): the best one for four bits of a normal component (Max 1960, table I)."""


class Prices(NamedTuple):
    """What searches cost, in bytes that are read in order meanwhile.

    isa: by which instruction set. codes: a component of a row by the byte codes, for one query. shared: the same for one of many queries, who
    share what is read. plane: a leading component by the plane, likewise. looks: a byte of a row that the plane leaves, for batches of ``BATCHES``.
    """

    isa: str
    codes: float
    shared: float
    plane: float
    looks: tuple[float, ...] = (5.0, 5.0, 6.0, 6.0)


class Directions(NamedTuple):
    """matrix: float32, (m, dim), B1 of plane_bound.py. defect: eta. survivors: share of rows that a query leaves, by k of ``KS``."""

    matrix: npt.NDArray[np.float32]
    defect: float
    survivors: tuple[float, ...]

    @property
    def rho(self) -> float:
        """How far a float32 product takes a vector."""
        m, dim = self.matrix.shape
        return plane_bound.strayed(dim, m, self.defect)

    def cost(self, k: int) -> float:
        """Bytes a row that a query costs, predicted."""
        return self._read + self.looks(k)

    def most_neighbors(self, prices: Prices) -> tuple[int, ...]:
        """The largest k for which each of so many queries as in ``BATCHES`` costs less than by the byte codes; 0 where 1 costs more."""
        return tuple(self._most(*batch, prices) for batch in zip(BATCHES, prices.looks, strict=True))

    def _most(self, queries: int, look: float, prices: Prices) -> int:
        """``look``: of ``Prices.looks``."""
        shared = int(queries > 1)  # one query pays for what is read, which takes longer than to multiply it
        known = self._read / queries + shared * prices.plane * len(self.matrix)
        most = (prices.codes / queries + shared * prices.shared) * self._row
        return _largest(lambda k: known + self._left(k) * look * self._row < most)

    @property
    def _row(self) -> int:
        """Bytes of a row's codes."""
        return self.matrix.shape[1] + 12

    @property
    def _read(self) -> float:
        return len(self.matrix) / 2 + 8

    def looks(self, k: int) -> float:
        """What looking at survivors costs."""
        return self._left(k) * LOOK * self._row

    def _left(self, k: int) -> float:
        """The share of rows that a query leaves: a power of k between those of ``KS``, and beyond them as between the last two, or linear."""
        known, ks = np.log(np.maximum(self.survivors, 1e-9)), np.log(KS)
        share = float(np.interp(np.log(k), ks, known))
        if k > KS[-1]:
            share += min(1.0, (known[-1] - known[-2]) / (ks[-1] - ks[-2])) * np.log(k / KS[-1])
        return min(1.0, UNLIKE * math.exp(share))


def _largest(holds: Callable[[int], bool]) -> int:
    """The largest k, found to a quarter of itself."""
    k = 0
    while k < 1 << 20 and holds(k + max(1, k // 4)):
        k += max(1, k // 4)
    return k


def choose(
    rows: npt.NDArray[Any],
    metric: int,
    centre: npt.NDArray[np.float64],
    vectors: npt.NDArray[np.float64] | None = None,
    of: int | None = None,
) -> Directions | None:
    """The directions of least predicted cost for ten neighbors.

    Args:
        rows: (rows, dim), as ``dtypes.computable`` gives them.
        metric: 0 l2, 1 ip, 2 cosine.
        centre: float64, (dim,).
        vectors: principal directions, (dim, dim), the longest first, where they are known.
        of: how many rows there are, where these are an even sample of them: their neighbors are then nearer than those in the sample.

    Returns:
        None where no width is worth its bytes.
    """
    random = np.random.default_rng(0)
    sample = _sample(rows, metric, centre, random)
    dim = sample.shape[1]
    if vectors is None:
        products = (sample.T @ sample).astype(np.float64)
        if not np.isfinite(products).all():
            return None
        values, columns = np.linalg.eigh(products)
        vectors = columns[:, np.argsort(values)[::-1]].T
    turned = sample[:: max(1, len(sample) // LOOKED_AT)] @ vectors.T.astype(np.float32)
    asked = np.sort(random.choice(len(turned), min(ASKED, len(turned) // 4), replace=False))
    # products are taken with the query itself, squared distances with the centred one
    queries = turned[asked] + (vectors @ centre).astype(np.float32) * bool(metric)
    lengths2 = np.einsum("ij,ij->i", turned, turned)
    proxies = _Sample(turned, queries, asked, lengths2 if metric == 0 else np.zeros_like(lengths2), lengths2)
    thresholds = _thresholds(rows, metric, centre, vectors.T @ queries.T.astype(np.float64), of or len(rows))
    best: Directions | None = None
    for m in sorted({min(dim // STEP * STEP, round(share * dim / STEP) * STEP) for share in SHARES} - {0}):
        if m > plane_bound.MOST or (best and best.looks(10) <= (m - len(best.matrix)) / 2):
            break  # more bytes than looking at all survivors costs
        turn = spreading(m, random)
        lowest = proxies.lowest(turn.astype(np.float32))
        shares = [float((lowest <= threshold[:, None]).mean()) for threshold in thresholds]
        matrix = np.ascontiguousarray((turn @ vectors[:m]).astype(np.float32))
        wide = matrix.astype(np.float64)
        defect = float(np.linalg.norm(wide @ wide.T - np.eye(m))) * 1.001
        made = Directions(matrix, defect, tuple(shares))
        if best is None or made.cost(10) < best.cost(10):
            best = made
    return best


def _thresholds(
    rows: npt.NDArray[Any], metric: int, centre: npt.NDArray[np.float64], queries: npt.NDArray[np.float64], of: int
) -> list[npt.NDArray[np.float32]]:
    """What the k-th neighbor of each query, (dim, queries), is ranked by, for k of ``KS``: of many rows, and scaled to all, which are ``of``."""
    count = len(rows)
    step = -(-count // min(DEEP, max(LEAST_DEEP, count // DEEP_SHARE)))
    asked, kept = queries.astype(np.float32), min(KS[-1] + 1, -(-count // step))
    found = []
    for first in range(0, count, step * 1024):
        some = prepared(some_of(rows, slice(first, first + step * 1024, step)), metric, centre)
        values = -2 * (some @ asked).T
        if metric == 0:
            values += np.einsum("ij,ij->i", some, some)
        found.append(values)
    nearest = np.partition(np.concatenate(found, axis=1), kept - 1, axis=1)[:, :kept]
    nearest = np.sort(nearest, axis=1)[:, 1:]  # a row is not its own neighbor
    last = nearest.shape[1] - 1
    share = step * of / count
    return [nearest[:, min(max(0, round(k / share) - 1), last)] for k in KS]


def prepared(some: npt.NDArray[Any], metric: int, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Rows less the centre, rounded once to float32; for cosine divided by their lengths first."""
    values = widened(np.ascontiguousarray(some))
    if some.dtype == np.float32 and metric != 2:  # whose centre is float32 as well
        near: npt.NDArray[np.float32] = values - centre.astype(np.float32)
        return near
    wide = values.astype(np.float64)
    if metric == 2:
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
        wide = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths != 0)
    return (wide - centre).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows and queries, in principal directions; what a bound's values begin with (|z|^2 for l2, else 0); and |z|^2."""

    rows: npt.NDArray[np.float32]
    queries: npt.NDArray[np.float32]
    asked: npt.NDArray[np.int64]
    first: npt.NDArray[np.float32]
    lengths2: npt.NDArray[np.float32]

    def lowest(self, turn: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lower bounds of what rows are ranked by, by a plane of as many components as ``turn`` has."""
        m = len(turn)
        z, w = self.rows[:, :m] @ turn.T, self.queries[:, :m] @ turn.T
        leading2 = np.einsum("ij,ij->i", z, z)
        step = np.maximum(START * np.sqrt(leading2 / m), 1e-30)[:, None]
        levels = np.clip(np.floor(z / step), -8, 7) + np.float32(0.5)
        scale = np.einsum("ij,ij->i", levels, z) / np.einsum("ij,ij->i", levels, levels)
        written = scale[:, None] * levels
        error = np.linalg.norm(z - written, axis=1)
        tail = np.sqrt(np.maximum(self.lengths2 - leading2, 0))
        known, rest = np.linalg.norm(w, axis=1)[:, None], np.linalg.norm(self.queries[:, m:], axis=1)[:, None]
        return self._without_own(self.first - 2 * (w @ written.T + known * error + rest * tail))

    def _without_own(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        np.put_along_axis(values, self.asked[:, None], np.inf, axis=1)
        return values


def spreading(m: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """An orthogonal (m, m) that spreads components over blocks of a power of two; each block has some of the large and of the small ones."""
    turn, first = np.zeros((m, m)), 0
    sizes = [1 << bit for bit in range(m.bit_length() - 1, -1, -1) if m >> bit & 1]
    places = np.argsort(np.concatenate([(np.arange(size) + 0.5) / size for size in sizes]), kind="stable")
    where = np.argsort(places, kind="stable")  # component of each line of a block
    for size in sizes:
        block = np.ones((1, 1))
        while len(block) < size:
            block = np.block([[block, block], [block, -block]])
        columns = where[first : first + size]
        turn[first : first + size, columns] = block / np.sqrt(size) * random.choice([-1.0, 1.0], size)
        first += size
    return turn


def _sample(
    rows: npt.NDArray[Any], metric: int, centre: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Rows of the sample as the plane has them: divided by their lengths for cosine, and centred."""
    wanted = min(len(rows), max(SAMPLE, 10 * rows.shape[1]))
    chosen = np.sort(random.choice(len(rows), wanted, replace=False))
    return prepared(some_of(rows, chosen), metric, centre)
