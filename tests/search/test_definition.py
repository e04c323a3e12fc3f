"""The definition of exact, against plain Python and exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.records import Neighbors
from knnscope.search import definition
from tests import oracle

number = st.floats(-1e100, 1e100)


@given(st.sampled_from(definition.METRICS), st.integers(1, 8), st.data())
def test_same_bits_as_one_operation_at_a_time(metric: str, dim: int, data: st.DataObject) -> None:
    x, q = (data.draw(st.lists(number, min_size=dim, max_size=dim)) for _ in range(2))
    found = definition.distances(np.array([x]), np.array([q]), metric)[0, 0]
    assert found == oracle.distance(x, q, metric)


@given(st.sampled_from(definition.METRICS), st.integers(1, 8), st.integers(1, 4), st.data())
def test_all_rows_at_once_have_the_bits_of_each(metric: str, dim: int, count: int, data: st.DataObject) -> None:
    """Of what other tests compare with, for any number: overflow and zeros too."""
    line = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=dim, max_size=dim)
    rows, query = [data.draw(line) for _ in range(count)], data.draw(line)
    each = np.array([oracle.distance(row, query, metric) for row in rows])
    np.testing.assert_array_equal(oracle.distances(np.array(rows), np.array(query), metric), each)


@given(st.sampled_from(("l2", "ip")), st.integers(1, 6), st.data())
def test_close_to_the_rational_value(metric: str, dim: int, data: st.DataObject) -> None:
    small = st.floats(-1e6, 1e6)
    x, q = (data.draw(st.lists(small, min_size=dim, max_size=dim)) for _ in range(2))
    exact = oracle.rational(x, q, metric)
    size = sum((abs(Fraction(a)) + abs(Fraction(b))) ** 2 for a, b in zip(x, q, strict=True))
    found = Fraction(float(definition.distances(np.array([x]), np.array([q]), metric)[0, 0]))
    assert abs(found - exact) <= (dim + 2) * Fraction(1, 2**52) * size + Fraction(1, 2**1000)


def test_no_fused_multiply_add() -> None:
    """A product whose rounding error a fused operation would keep: 1 + 2^-52 instead of 1."""
    a = 1 + 2.0**-27
    rows, query = np.array([[1.0, a]]), np.array([[-1.0, a]])
    fused = float(Fraction(a) * Fraction(a) - 1)
    plain = a * a - 1
    assert fused != plain
    assert definition.distances(rows, query, "ip")[0, 0] == plain


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("group", [1, 2, 16, 17, 40])
def test_the_same_bits_for_any_batch_and_block(metric: str, group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    rows, queries = random.standard_normal((700, 19)), random.standard_normal((40, 19))
    whole = definition.search(rows, queries, 12, metric)
    monkeypatch.setattr(definition, "PAIRS", 256)
    for start in range(0, 40, group):
        part = definition.search(rows, queries[start : start + group], 12, metric)
        np.testing.assert_array_equal(part.ids, whole.ids[start : start + group])
        np.testing.assert_array_equal(part.distances, whole.distances[start : start + group])


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, np.inf]), min_size=1, max_size=30), st.data())
def test_selection_orders_ties_by_id(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    for metric, sign in (("l2", 1), ("ip", -1)):
        found = definition.select(np.array([values]), k, metric, first_id=100)
        expected = sorted(range(len(values)), key=lambda i: (sign * values[i], i))[:k]
        assert (found.ids[0] - 100).tolist() == expected


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.data())
def test_merging_parts_is_selecting_from_the_whole(values: list[int], data: st.DataObject) -> None:
    line = np.array([values], dtype=float)
    cut, k = data.draw(st.integers(1, len(values) - 1)), data.draw(st.integers(1, len(values)))
    for metric in ("l2", "ip"):
        parts = definition.select(line[:, :cut], k, metric), definition.select(line[:, cut:], k, metric, cut)
        for one, other in (parts, parts[::-1]):
            merged = definition.merge(one, other, k, metric)
            np.testing.assert_array_equal(merged.ids, definition.select(line, k, metric).ids)


def test_cosine_of_a_zero_vector_is_zero() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert definition.distances(rows, np.zeros((1, 2)), "cosine").tolist() == [[0, 0, 0]]
    found = definition.search(rows, np.array([[2.0, 0.0]]), 3, "cosine")
    assert found.ids.tolist() == [[1, 0, 2]]
    assert isinstance(found, Neighbors)


@pytest.mark.parametrize("metric", definition.METRICS)
def test_threads_do_not_change_a_bit(metric: str) -> None:
    random = np.random.default_rng(11)
    rows, queries = (random.integers(-3, 4, (n, 7)).astype(np.float32) for n in (300, 70))
    one, three = (definition.search(rows, queries, 9, metric, threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.ids, three.ids)
    np.testing.assert_array_equal(one.distances, three.distances)
