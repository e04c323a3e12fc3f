"""Norms of the data, and whether the metrics rank alike on it."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.search import definition
from knnscope.search.geometry import Geometry, measure

RANDOM = np.random.default_rng


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    values = RANDOM(seed).standard_normal((count, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("metric", definition.METRICS)
def test_unit_vectors_rank_alike_by_every_metric(metric: str) -> None:
    found = measure(unit(400, 8, 1), unit(60, 8, 2), 5, metric)
    assert (found.metric, found.queries) == (metric, 50), "the first 50 queries are asked"
    assert found.alike == {other: 50 for other in definition.METRICS if other != metric}
    assert found.smallest == pytest.approx(1, abs=1e-6)
    assert found.said().startswith("all vectors have norm 1; of 50 queries, ")


def test_one_long_row_wins_every_inner_product() -> None:
    """Eight directions on a circle, queries near them, and a row 100 times as long that the first three see in front of them."""
    angles = np.arange(8) * np.pi / 4
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows[0] *= 100
    queries = rows[[1, 7, 1, 4, 3]] * 0.9 + 0.01
    found = measure(rows, queries, 1, "l2")
    assert found.alike == {"ip": 2, "cosine": 5}
    assert (found.smallest, found.median, found.largest) == pytest.approx((1, 1, 100))
    assert measure(rows, queries, 1, "ip").alike == {"l2": 2, "cosine": 2}
    assert measure(rows, queries, 8, "l2").alike == {"ip": 2, "cosine": 1}, "the order of all k counts"


def test_norms_alone_part_l2_from_cosine() -> None:
    rows = np.array([[1, 0], [9, 1], [2, 0]], np.uint8)
    assert measure(rows, rows[1:2], 3, "ip").alike == {"l2": 1, "cosine": 0}
    assert measure(rows, rows[:1], 2, "l2").alike == {"ip": 0, "cosine": 1}


def test_the_sentence() -> None:
    varied = Geometry(0.5, 1.25, 123456.0, "ip", 7, {"l2": 3, "cosine": 0})
    assert varied.said() == (
        "norms lie between 0.5 and 1.235e+05, median 1.25; of 7 queries, l2 gives 3 the same neighbors as ip does, cosine 0"
    )
    alike = Geometry(9.99999, 10.00001, 10.00002, "l2", 50, {"ip": 50, "cosine": 50})
    assert alike.said() == (
        "all vectors have norm 10; of 50 queries, ip gives 50 the same neighbors as l2 does, cosine 50"
    )
    assert Geometry(9.998, 10.0, 10.0, "l2", 1, {}).said().startswith("norms lie between 9.998 and 10, median 10")
    assert Geometry(9.9998, 10.0, 10.0, "l2", 1, {}).said().startswith("all vectors have norm 10;"), "no '10 to 10'"
    assert Geometry(0.0, 0.0, 0.0, "l2", 1, {}).said().startswith("all vectors have norm 0")
