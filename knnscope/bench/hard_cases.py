"""Data on which exact searches go wrong, each with the reason. To add one: an entry in ``HARD``.

Rows and queries are float32 unless the entry says otherwise, and the same on every machine (NumPy's own generators).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import synthetic

Array = npt.NDArray[Any]
Made = tuple[Array, Array]

DIM = 128
"""With 1,000 queries at once Faiss multiplies matrices (queries times components from 128,000 on)."""
ROWS = 2000
QUERIES = 100
"""Repeated until they fill the largest batch: an engine may answer the same query otherwise elsewhere in a batch, and is judged by both."""


@dataclass(frozen=True, slots=True)
class Hard:
    """Rows, queries, and what is asked of them, by every metric.

    name: as options and tables have it. what: why it is hard, one line. make: rows, (rows, dim), and queries, (queries, dim). k: neighbors.
    batches: one query a call, few, many. later: how many of the rows, the last, are added after the others were built.
    """

    name: str
    what: str
    make: Callable[[], Made]
    k: int = 10
    batches: tuple[int, int, int] = (1, 10, 1000)
    later: int = 0


def _recipe(distribution: str, rows: int = ROWS, dim: int = DIM, queries: int = QUERIES) -> Callable[[], Made]:
    """A data set of ``synthetic:``."""

    def make() -> Made:
        found = synthetic.materialise(synthetic.Synthetic(distribution, rows, dim, queries=queries))
        assert found.queries is not None
        return found.documents.values, found.queries.values

    return make


def _normal(
    rows: int = ROWS, dim: int = DIM, queries: int = QUERIES, scale: float = 1.0, offset: float = 0.0
) -> Callable[[], Made]:
    """Independent normal components, times ``scale``, plus ``offset``."""

    def make() -> Made:
        random = np.random.default_rng([rows, dim, queries])
        both = random.standard_normal((rows + queries, dim)) * scale + offset
        values = both.astype(np.float32)
        return values[:rows], values[rows:]

    return make


def _repeated() -> Made:
    """Every row eight times, in blocks far apart; queries are rows, so that eight are at distance 0."""
    rows, queries = _normal(ROWS // 8)()
    queries[::2] = rows[: QUERIES // 2]
    return np.tile(rows, (8, 1)), queries


def _zeros() -> Made:
    """A quarter of the rows and of the queries is zero."""
    rows, queries = _normal()()
    rows[::4] = 0
    queries[::4] = 0
    return rows, queries


def _norms_of_all_sizes() -> Made:
    """Norms from 1e-3 to 1e3: the longest row decides how fine any code of all rows is, and the largest term of |x|^2 - 2 x.q + |q|^2."""
    random = np.random.default_rng(7)
    rows, queries = _normal()()
    rows *= 10.0 ** random.uniform(-3, 3, (len(rows), 1)).astype(np.float32)
    queries *= 10.0 ** random.uniform(-3, 3, (len(queries), 1)).astype(np.float32)
    return rows, queries


def _closer_than_float32() -> Made:
    """Around 1, further digits than float32 has: rounded to it all rows are alike."""
    random = np.random.default_rng(8)
    both = 1 + 1e-9 * random.standard_normal((ROWS + QUERIES, DIM))
    return both[:ROWS], both[ROWS:]


HARD = (
    Hard("ordinary", "as a text encoder gives them, norms of 10", _recipe("text")),
    Hard(
        "ties",
        "components are -1, 0 or 1: many rows are equally near, the smallest number comes first",
        _recipe("ties", dim=16),
    ),
    Hard("identical rows", "each row is there eight times, and is a query", _repeated),
    Hard("near-duplicates", "copies of 1,500 rows, moved by 1e-6 to 1e-2", _recipe("near-duplicate", 4000)),
    Hard(
        "offset of norm 1,000",
        "ordinary rows, all moved alike: distances of 10 between rows of norm 1,000",
        _recipe("large-norm"),
    ),
    Hard("offset 1,000", "1,000 in every component: |x|² is 10⁶ times what tells rows apart", _normal(offset=1000)),
    Hard("norms of all sizes", "0.01 to 10,000 in one collection", _norms_of_all_sizes),
    Hard("large norms", "1e18: the squares are near the largest float32", _normal(scale=1e17)),
    Hard("overflow", "norms of 1e25: the squares are no float32", _normal(scale=1e24)),
    Hard("small norms", "1e-18: squares of components are no normal float32", _normal(scale=1e-19)),
    Hard("underflow", "norms of 1e-29: the squares are 0 in float32", _normal(scale=1e-30)),
    Hard("zero rows", "a quarter of the rows and queries is zero, which has no direction", _zeros),
    Hard("d = 1", "one component: by cosine all are alike but for the sign", _normal(dim=1)),
    Hard("d = 4,096", "many components: the most roundings", _normal(500, 4096), batches=(1, 10, 100)),
    Hard(
        "k = 2,049", "one neighbor more than many a GPU kernel holds", _normal(3000, 32, 4), k=2049, batches=(1, 4, 8)
    ),
    Hard("float64", "around 1, differing in the ninth digit: alike in float32", _closer_than_float32),
    Hard("rows added later", "a half is added to an index of the other half", _recipe("text"), later=ROWS // 2),
)
"""Every case, by name, in the order of the tables."""
