"""Few allowed rows: the same answers as by any other way, and none but the allowed rows looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified.cpu import allowed, allowed_look, dispatch
from knnscope.certified.cpu import search as searches
from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests.certified.answers import check
from tests.certified.cpu.planes import planes_for_all

METRICS = definition.METRICS
ISAS = dispatch.available()


def data(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    fall = np.arange(1, 65) ** -0.8
    rows, queries = ((random.standard_normal((n, 64)) * fall * 40).clip(-127, 127) for n in (6011, 40))
    rows[100:2000:7] = rows[3]  # ties
    return rows.astype(dtype), queries.astype(dtype)


def assert_same(index: ExactIndex, queries: np.ndarray, k: int, where: np.ndarray, metric: str) -> tuple[str, ...]:
    rows = index.get(index.ids)
    found = index.search(queries, k, where=where)
    values = definition.distances(rows, queries, metric)
    keys = values if metric == "l2" else -values
    for number in range(len(queries)):
        mask = where if where.ndim == 1 else where[number]
        left = np.flatnonzero(mask)
        order = left[np.argsort(keys[number][left], kind="stable")[:k]]
        missing = k - len(order)
        assert found.ids[number].tolist() == order.tolist() + [-1] * missing
        assert found.distances[number].tolist()[: len(order)] == values[number][order].tolist()
        proof = found.certificate
        assert min(k, len(left)) <= proof.computed[number] <= proof.candidates[number] <= len(left)
        if len(left) > proof.computed[number]:
            rest = np.sort(keys[number][left])[int(proof.computed[number])]
            last = keys[number][order[-1]]
            gap = np.sqrt(rest) - np.sqrt(last) if metric == "l2" else rest - last
            assert 0 <= proof.margin[number] <= gap + 1e-9 * max(1.0, abs(last))
        else:
            assert np.isinf(proof.margin[number])
    return found.certificate.path


@given(st.data())
def test_a_mask_is_listed_where_there_is_room(data: st.DataObject) -> None:
    """Any bits, the last of 64 too; rows behind the room stay as they were."""
    mask = np.zeros(data.draw(st.integers(0, 300)), dtype=np.bool_)
    for row in data.draw(st.lists(st.integers(0, max(0, len(mask) - 1)), max_size=len(mask))):
        mask[row] = True
    mask[data.draw(st.integers(0, 300)) :] = data.draw(st.booleans())
    room, allowed_rows = data.draw(st.integers(64, 400)), np.flatnonzero(mask)
    rows = np.full(room + 3, -7, dtype=np.int32)
    found = allowed_look.listed(mask, rows[:room])
    assert (rows[room:] == -7).all()
    if found < 0:
        assert len(allowed_rows) + 64 > room
    else:
        assert rows[:found].tolist() == allowed_rows.tolist()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
def test_one_mask_or_one_each_by_lines_and_by_gathered_codes(
    monkeypatch: pytest.MonkeyPatch, metric: str, isa: str
) -> None:
    planes_for_all(monkeypatch)
    rows, queries = data()
    index = ExactIndex(rows, metric, device=f"cpu:{isa}", threads=2)
    random = np.random.default_rng(1)
    shared, each = random.random(6011) < 0.02, random.random((40, 6011)) < 0.03
    each[5] = False
    each[6, 2:] = False
    paths = {}
    for k in (1, 7, 300):
        paths["shared", k] = assert_same(index, queries, k, shared, metric)
        paths["each", k] = assert_same(index, queries, k, each, metric)
        paths["one", k] = assert_same(index, queries[:1], k, shared, metric)
        paths["few", k] = assert_same(index, queries[:5], k, each[:5], metric)
    assert paths["each", 7] == paths["one", 7] == paths["few", 7] == ("allowed",)
    assert paths["shared", 1] != ("plane",)
    assert assert_same(index, queries[:2], 7, random.random(6011) < 0.5, metric) == ("plane",)


@pytest.mark.parametrize("dtype", definition.DTYPES)
@pytest.mark.parametrize("memory", ["fast", "small"])
def test_without_lines_few_rows_are_computed(dtype: str, memory: str) -> None:
    rows, queries = data(dtype)
    index = ExactIndex(rows, memory=memory, threads=2)
    few = np.zeros(6011, dtype=bool)
    few[100:180] = True
    assert assert_same(index, queries[:3], 5, few, "l2") == ("allowed",)
    assert_same(index, queries, 5, few, "l2")


def test_more_rows_than_a_query_has_room_for_are_ranked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    planes_for_all(monkeypatch)
    monkeypatch.setattr(allowed, "SHARE", 2)
    rows = np.zeros((5000, 64), dtype=np.float32)  # none can be left out
    rows[:, 0] = np.arange(5000) % 2
    index = ExactIndex(rows)
    each = np.random.default_rng(0).random((9, 5000)) < 0.4
    assert_same(index, rows[:9], 3, each, "l2")


def test_queries_that_lines_cannot_tell_about(monkeypatch: pytest.MonkeyPatch) -> None:
    planes_for_all(monkeypatch)
    rows, queries = data("float64")
    queries[3] *= 1e80
    index = ExactIndex(rows)
    few = np.random.default_rng(0).random((40, 6011)) < 0.02
    assert_same(index, queries, 4, few, "l2")
    assert_same(index, queries[3:4], 4, few[3:4], "l2")


@pytest.mark.parametrize("metric", METRICS)
def test_plain_python_agrees(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    planes_for_all(monkeypatch)
    rows, queries = data()
    few = np.random.default_rng(0).random(6011) < 0.01
    check(
        ExactIndex(rows[:600], metric).search(queries[:2], 3, few[:600]), rows[:600], queries[:2], 3, metric, few[:600]
    )


@pytest.mark.parametrize("metric", ["ip", "cosine"])
@pytest.mark.parametrize("batch", [3, 9, 23])
def test_queries_that_no_bound_holds_for_leave_the_answers_of_the_others(
    metric: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero queries among others, few allowed rows, and a plane whose lists run full: it wrote over what the allowed rows had answered."""
    planes_for_all(monkeypatch)
    monkeypatch.setattr(searches, "LEAST_ROOM", 8)
    for seed in range(12):
        random = np.random.default_rng(seed)
        both = (random.standard_normal((40 + batch, 32)) * (random.random((40 + batch, 1)) < 0.5)).astype(np.float32)
        rows, queries, mask = both[:40], both[40:], random.random(40) < 0.5
        index = ExactIndex(rows, metric, device="cpu", threads=1).wait()
        found = index.search(queries, 2, where=mask)
        expected = definition.search(rows[mask], queries, 2, metric)
        np.testing.assert_array_equal(found.ids, np.flatnonzero(mask)[expected.ids])
        np.testing.assert_array_equal(found.distances, expected.distances)
