"""What a rival with a proof answered wrongly, or not at all, without an error, once rows were added (decision 035): each is right here."""

from __future__ import annotations

import numpy as np
import pytest

import knnscope
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.living_rows import data, same

METRICS = definition.METRICS


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("times", [7, 100, 1e6])
def test_rows_added_later_may_be_much_longer(metric: str, times: float) -> None:
    first, later = data(400), data(300, seed=1) * np.float32(times)
    index = knnscope.ExactIndex(first, metric)
    index.add(later)
    both = np.concatenate([first, later])
    for queries in (first[:4], later[:4]):
        same(index, both, queries, 12, metric)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 40, 700])
def test_a_row_that_is_not_finite_is_refused_with_its_place_and_the_rest_answers_as_before(
    bad: float, count: int
) -> None:
    first, later = data(400), data(count, seed=1)
    index = knnscope.ExactIndex(first)
    later[count // 2, 5] = bad
    with pytest.raises(KnnscopeError, match=f"rows: row {count // 2:,} has {bad} in component 5"):
        index.add(later)
    with pytest.raises(KnnscopeError, match="in component 5"):
        index.update(np.arange(count)[:400], later[:400] if count < 400 else later[300:])
    assert len(index) == 400
    same(index, first, first[:3] + 1, 9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "first",
    [
        np.ones((300, 8)),
        np.ones((1, 8)),
        np.random.default_rng(0).standard_normal((300, 8)) * 1e18,
        np.concatenate([np.random.default_rng(0).standard_normal((300, 8)), np.full((1, 8), 1e30)]),
    ],
    ids=["identical", "one", "1e18", "one of 1e30"],
)
def test_strange_first_rows_do_not_spoil_later_ones(first: np.ndarray, metric: str) -> None:
    later = np.random.default_rng(1).standard_normal((500, 8))
    index = knnscope.ExactIndex(first, metric)
    index.add(later)
    same(index, np.concatenate([first, later]), later[:5] + 0.1, 7, metric)


@pytest.mark.parametrize("times", [1e4, 1e5, 1e12])
def test_queries_may_be_much_longer_than_rows(times: float) -> None:
    rows = data(900).astype(np.float64)
    index = knnscope.ExactIndex(rows[:500])
    index.add(rows[500:])
    same(index, rows, rows[:6] * times, 10)


def test_ties_go_to_the_smaller_id_wherever_rows_lie(small_segments: None) -> None:
    index = knnscope.ExactIndex(np.ones((5, 3)), ids=[50, 10, 40, 20, 30])
    index.add(np.ones((20, 3)), ids=[*range(100, 119), 5])
    index.add(np.ones((2, 3)), ids=[45, 1])
    index.update(50, np.ones(3))
    for _ in range(3):
        assert index.search(np.zeros((2, 3)), 9).ids.tolist() == [[1, 5, 10, 20, 30, 40, 45, 50, 100]] * 2
        index.merge()


def test_tiny_numbers_keep_their_distances() -> None:
    rows = data(600).astype(np.float64) * 1e-30
    index = knnscope.ExactIndex(rows[:300])
    index.add(rows[300:])
    found = index.search(rows[0], 5)
    assert (found.distances[1:] > 0).all()
    same(index, rows, rows[:2], 5)
