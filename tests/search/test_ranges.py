"""Numbers so large that an engine's sums are no numbers are refused, before a row is lost without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors
from knnscope.search.engine import CheckedIndex
from knnscope.search.ranges import Range


def test_a_range_knows_the_longest_row_wherever_it_is() -> None:
    rows = np.ones((10_000, 3), np.float32)
    rows[9_999] = 1e19
    with pytest.raises(KnnscopeError, match="l2 of these numbers overflows float32"):
        Range(rows, "l2").check(rows[:1])
    Range(rows[:-1], "l2").check(rows[:1])


@given(
    power=st.floats(-0.2, 1.1),
    query_power=st.floats(-0.2, 1.1),
    metric=st.sampled_from(["l2", "ip", "cosine"]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 9),
)
def test_what_passes_stays_a_number_in_any_order_of_sums(
    power: float, query_power: float, metric: str, dtype: str, seed: int
) -> None:
    random, top = np.random.default_rng(seed), np.log2(float(np.finfo(dtype).max)) / 2
    with np.errstate(all="ignore"):
        rows, queries = (
            (random.standard_normal((5, 6)) * 2.0 ** (top * p)).astype(dtype) for p in (power, query_power)
        )
        try:
            Range(rows, metric).check(queries)
        except KnnscopeError as error:
            # not refused where there is much room: sums of a few numbers are within 2^8 of the end
            assert max(np.abs(rows).max(), np.abs(queries).max(), 1.0) > 2.0 ** (top - 8)
            assert "overflows " + dtype in str(error)
            return
        products = np.abs(queries[:, None] * rows[None])  # as if all signs were the worst
        assert np.isfinite(2 * products.sum(axis=2)).all() or metric == "cosine"
        if metric != "ip":
            assert np.isfinite((rows * rows).sum(axis=1)).all()
            assert np.isfinite((queries * queries).sum(axis=1)).all()
        if metric == "l2":
            squares = (rows * rows).sum(axis=1) + (queries * queries).sum(axis=1)[:, None]
            assert np.isfinite(squares + 2 * products.sum(axis=2)).all()


class Silent:
    """An index of a library that loses rows; what it is held to."""

    def __init__(self, rows: np.ndarray) -> None:
        self.range = Range(rows, "l2")

    def search(self, queries: Any, k: int) -> Neighbors:
        return Neighbors(np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k)))


def test_an_index_with_a_range_is_not_asked_beyond_it() -> None:
    rows = np.ones((4, 3), np.float32)
    index = CheckedIndex(Silent(rows), rows.shape, None, "silent")
    assert index.search(rows[:1], 1).ids.tolist() == [[0]]
    with pytest.raises(KnnscopeError, match="overflows float32"):
        index.search(np.full((1, 3), 1e19, np.float32), 1)
