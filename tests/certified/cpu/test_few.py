"""Few rows in one call: the defined answer, and the long way wherever that call does not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from knnscope import arithmetic
from knnscope.certified.cpu import dispatch, few
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition

RANDOM = np.random.default_rng
ISAS = dispatch.available()
METRICS = definition.METRICS


def same(index: ExactIndex, rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> None:
    """As defined, bit by bit; and certificates as the long way has them."""
    found, long = index.search(queries, k), index.search(queries, k, threads=1)
    expected = definition.search(rows, queries, k, metric)
    for answer in (found, long):
        np.testing.assert_array_equal(answer.ids, expected.ids)
        np.testing.assert_array_equal(answer.distances.view(np.int64), expected.distances.view(np.int64))
    assert (found.certificate.margin >= 0).all()
    assert (found.certificate.computed >= k).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [3, 40, 384])
def test_any_number_of_rows_and_queries(dim: int, metric: str, isa: str) -> None:
    random = RANDOM(dim)
    for count in (1, 9, 40, 170, 900):
        rows = (random.standard_normal((count, dim)) + 0.5).astype(np.float32)
        index = ExactIndex(rows, metric, device=f"cpu:{isa}")
        for asked in (1, 2, 3, 5, 7, 13, 30):
            queries = rows[random.integers(0, count, asked)] + random.standard_normal((asked, dim)).astype(np.float32)
            same(index, rows, queries, min(10, count), metric)


@pytest.mark.parametrize("dtype", definition.DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_types_of_rows_and_ties(dtype: str, metric: str) -> None:
    for count in (30, 700):
        rows = np.abs(RANDOM(1).integers(-3, 4, (count, 200))).astype(dtype)
        same(ExactIndex(rows, metric), rows, rows[:5].astype(np.float64), 7, metric)


@pytest.mark.parametrize("count", [30, 700])
def test_a_signalling_nan_is_refused_where_numpy_would_raise(count: int) -> None:
    """NumPy reports it where float32 becomes float64."""
    index = ExactIndex(RANDOM(1).standard_normal((count, 20)).astype(np.float32))
    queries = RANDOM(2).standard_normal((2, 20)).astype(np.float32)
    queries.view(np.uint32)[1, 3] = 0x7FA00000
    with np.errstate(all="raise"), pytest.raises(KnnscopeError, match="row 1 has nan in component 3"):
        index.search(queries, 5)


def test_which_way_is_taken() -> None:
    """One call for few rows or few queries; the codes from where they are faster."""
    rows = RANDOM(2).standard_normal((3000, 384)).astype(np.float32)
    small, larger = ExactIndex(rows[:40], threads=2), ExactIndex(rows, threads=2)
    assert small.search(rows[:2], 5).certificate.path == ("exhaustive",)
    calls = larger._living.state.whole._few
    larger.search(rows[:2], 5)
    larger.search(rows[:900], 5)
    taken = few.alone(dispatch.plan(larger.isa, 2)) is not None
    assert (calls._calls[2] is not None) == taken
    assert calls._calls[900] is None, "so many queries are shared out among threads"
    assert calls.answer(rows[:2], 2000) is None, "bounds would exclude little"


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "amx"])
@pytest.mark.parametrize("asked", [1, 2, 3, 4, 9, 100])
def test_one_call_answers_from_codes(isa: str, asked: int) -> None:
    """Whatever the instruction set: between the rows that all compete and those for several threads, Python is most of what a search costs."""
    random = RANDOM(8)
    rows = random.standard_normal((700, 96)).astype(np.float32)
    queries = random.standard_normal((asked, 96)).astype(np.float32)
    index = ExactIndex(rows, device=f"cpu:{isa}", threads=1)
    found = index._living.state.whole._few.answer(queries, 10)
    assert found is not None
    assert found.path != few.DIRECT
    expected = definition.search(rows, queries, 10, "l2")
    np.testing.assert_array_equal(found.ids, expected.ids)


@pytest.mark.parametrize(
    "queries",
    [
        [[0.0] * 8],
        np.zeros((2, 8), np.float16),
        np.zeros((2, 8), ">f4"),
        np.zeros((2, 8), np.int8),
        np.zeros((0, 8)),
        np.zeros((2, 8)).view(np.recarray),
    ],
)
def test_what_has_to_be_converted_goes_the_long_way(queries: Any) -> None:
    rows = RANDOM(3).standard_normal((50, 8))
    index = ExactIndex(rows)
    assert index._living.state.whole._few.answer(queries, 3) is None
    asked = np.asarray(queries, dtype=np.float64)
    assert index.search(queries, 3).ids.shape == (len(asked), 3)


def test_layouts_of_queries() -> None:
    rows = RANDOM(4).standard_normal((60, 12)).astype(np.float32)
    index = ExactIndex(rows)
    wide = np.repeat(rows, 2, axis=1)
    for queries in (np.asfortranarray(rows[:6]), wide[:6, ::2], rows[5::-1], wide[3, ::2], rows[3].astype(np.float64)):
        found = index.search(queries, 4)
        expected = definition.search(rows, np.atleast_2d(queries), 4, "l2")
        np.testing.assert_array_equal(np.atleast_2d(found.ids), expected.ids)
        assert found.ids.ndim == queries.ndim
    before = rows.copy()
    index.search(rows, 4)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("count", [50, 900])
def test_what_is_refused_is_refused_here_too(count: int) -> None:
    rows = RANDOM(5).standard_normal((count, 100)).astype(np.float32)
    index = ExactIndex(rows, "ip")
    for bad in (np.nan, np.inf):
        queries = rows[:3].copy()
        queries[1, 7] = bad
        with pytest.raises(KnnscopeError, match=r"queries: row 1 has (nan|inf) in component 7"):
            index.search(queries, 3)
    with pytest.raises(KnnscopeError, match="queries have 99 components"):
        index.search(rows[:3, :99], 3)
    with pytest.raises(KnnscopeError, match=f"outside 1 to {count}"):
        index.search(rows[:3], 0)
    huge = np.array([[1e200, 1e200], [1e200, -1e200]])
    with pytest.raises(KnnscopeError, match="ip of finite numbers overflows"):
        ExactIndex(huge, "ip").search(np.array([[1e200, -1e200]]), 1)


@pytest.mark.parametrize("count", [50, 900])
def test_names_and_rows_that_were_changed(count: int) -> None:
    rows = RANDOM(6).standard_normal((count, 100)).astype(np.float32)
    names = RANDOM(7).permutation(10 * count)[:count]
    index = ExactIndex(rows, ids=names)
    expected = definition.search(rows, rows[:4], 5, "l2")
    np.testing.assert_array_equal(index.search(rows[:4], 5).ids, names[expected.ids])
    if count > 50:
        queries = rows[:4].copy()
        near = int(expected.ids[2, 1])
        rows[near] += 100
        with pytest.raises(KnnscopeError, match=f"changed after the index was built: row {near:,} is not"):
            index.search(queries, 5)


def test_a_thread_that_computes_otherwise_is_put_right_first(monkeypatch: pytest.MonkeyPatch) -> None:
    index = ExactIndex(np.eye(4))
    asked = np.eye(4)[:1]
    assert index._living.state.whole._few.answer(asked, 2) is not None
    monkeypatch.setattr(few, "is_ieee", lambda: False)
    assert index._living.state.whole._few.answer(asked, 2) is None
    assert arithmetic.is_ieee()
    assert index.search(asked, 2).ids.tolist() == [[0, 1]]
