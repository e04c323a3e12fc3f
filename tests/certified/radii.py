"""Radius searches of many shapes, and what every answer to them keeps: the definition by plain Python."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests import oracle
from tests.certified.answers import Asked, small


class AskedRadius(NamedTuple):
    """A search for all rows within a radius: rows and queries of one type, rows that may be answers, or None for all."""

    rows: np.ndarray
    queries: np.ndarray
    metric: str
    radius: Any
    where: np.ndarray | None


def values_of(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Every value by plain Python, (queries, rows)."""
    return np.array([oracle.distances(rows, query, metric) for query in queries]).reshape(len(queries), len(rows))


def inside(
    values: np.ndarray, radius: float, metric: str, mask: np.ndarray | None = None, names: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and values of one query's rows within the radius, in order."""
    near = values <= radius if metric == "l2" else values >= radius
    rows = np.flatnonzero(near if mask is None else near & mask)
    called = rows if names is None else names[rows]
    order = np.lexsort((called, values[rows] if metric == "l2" else -values[rows]))
    return called[order], values[rows][order]


@st.composite
def small_radius(draw: st.DrawFn) -> AskedRadius:
    """Any search of few rows: radii that are values, their neighbors among float64's numbers, none, or anything."""
    asked: Asked = draw(small())
    values = values_of(asked.rows, asked.queries, asked.metric)
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    chosen = values[np.arange(len(values)), random.integers(0, values.shape[1], len(values))]
    towards = draw(st.sampled_from([0.0, -np.inf, np.inf]))
    radii = np.nextafter(chosen, towards) if towards else chosen
    if asked.metric == "l2":
        radii = np.maximum(radii, 0.0)
    if draw(st.booleans()):
        radii = draw(st.sampled_from([float(radii[0]), 0.0, 1e-300, 1e300, np.inf]))
    return AskedRadius(asked.rows, asked.queries, asked.metric, radii, asked.where)


def check(index: Any, asked: AskedRadius) -> None:
    """Equal to plain Python's answer, and the certificate is true."""
    rows, queries, metric, radius, where = asked
    found = index.radius_search(queries, radius, where)
    values, radii = values_of(rows, queries, metric), np.broadcast_to(radius, len(queries))
    assert found.offsets.dtype == found.ids.dtype == np.int64
    assert len(found) == len(queries)
    proof = found.certificate
    for number in range(len(queries)):
        mask = np.ones(len(rows), bool) if where is None else where if where.ndim == 1 else where[number]
        ids, distances = inside(values[number], radii[number], metric, mask)
        assert found[number][0].tolist() == ids.tolist()
        assert found[number][1].tolist() == distances.tolist()
        assert len(ids) <= proof.computed[number] <= proof.candidates[number] <= mask.sum()
    assert proof.exact
    assert (proof.margin[proof.computed < len(rows)] == 0).all()
