"""Rows of many shapes, and what every certified answer to them keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from knnscope.records import Neighbors
from knnscope.search import definition
from tests import oracle

Shape = Callable[[np.random.Generator, int, int], np.ndarray]
SHAPES: dict[str, Shape] = {
    "normal": lambda r, n, d: r.standard_normal((n, d)) * 3,
    "ties": lambda r, n, d: r.integers(-1, 2, (n, d)),
    "constant": lambda _, n, d: np.full((n, d), 0.1),
    "near": lambda r, n, d: 5 + r.standard_normal((n, d)) * 1e-3,
    "nearer": lambda r, n, d: 1 + r.integers(0, 3, (n, d)) * 2.0**-20,
    "tiny": lambda r, n, d: r.standard_normal((n, d)) * 1e-4,
    "far": lambda r, n, d: r.standard_normal((n, d)) + 1000 * (r.random((n, 1)) < 0.1),
    "zeros": lambda r, n, d: r.standard_normal((n, d)) * (r.random((n, 1)) < 0.5),
    "one-sided": lambda r, n, d: np.abs(r.standard_normal((n, d))) + 4,
}


class Asked(NamedTuple):
    """A search: rows and queries of one type, and rows that may be answers, or None for all."""

    rows: np.ndarray
    queries: np.ndarray
    metric: str
    k: int
    where: np.ndarray | None


@st.composite
def small(draw: st.DrawFn) -> Asked:
    """Any search of few rows and components."""
    count, dim, queries = draw(st.integers(1, 70)), draw(st.integers(1, 19)), draw(st.integers(1, 15))
    dtype, metric = draw(st.sampled_from(definition.DTYPES)), draw(st.sampled_from(definition.METRICS))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    both = SHAPES[draw(st.sampled_from(sorted(SHAPES)))](random, count + queries, dim)
    if "int" in dtype:
        both = np.abs(both * 20) % 127
    both = both.astype(dtype)
    where = None
    if draw(st.booleans()):
        where = random.random((queries, count) if draw(st.booleans()) else count) < 0.4
    return Asked(both[:count], both[count:], metric, draw(st.integers(1, count)), where)


def moved(array: np.ndarray, bytes_on: int) -> np.ndarray:
    """The same values so many bytes behind where an allocation begins."""
    made = np.frombuffer(bytearray(array.nbytes + bytes_on), array.dtype, array.size, bytes_on).reshape(array.shape)
    made[:] = array
    return made


def check(
    found: Neighbors, rows: np.ndarray, queries: np.ndarray, k: int, metric: str, where: np.ndarray | None = None
) -> None:
    """Equal to plain Python's answer, and the certificate is true."""
    proof = found.certificate
    assert proof.exact
    assert proof.rows_scanned == len(rows)
    for number, query in enumerate(queries):
        mask = np.ones(len(rows), bool) if where is None else where if where.ndim == 1 else where[number]
        left = np.flatnonzero(mask)
        expected, values = oracle.nearest(rows[left], query, min(k, len(left)), metric) if len(left) else ([], [])
        short = k - len(expected)
        assert found.ids[number].tolist() == [int(left[i]) for i in expected] + [-1] * short
        assert found.distances[number].tolist() == values + [np.inf if metric == "l2" else -np.inf] * short
        assert min(len(left), k) <= proof.computed[number] <= proof.candidates[number] <= len(left)
        if short == 0 and len(left) > k and proof.margin[number] < np.inf:
            _, all_values = oracle.nearest(rows[left], query, len(left), metric)
            rest = all_values[int(proof.computed[number]) :]
            if rest:  # those that were not computed are at least the last ones of the order
                last = values[-1]
                gap = np.sqrt(rest[0]) - np.sqrt(last) if metric == "l2" else last - rest[0]
                assert proof.margin[number] <= gap + 1e-9 * max(1.0, abs(last))
