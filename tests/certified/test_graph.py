"""The k nearest of every row: itself left out by its id, its equals not, whichever way pairs are computed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified.cpu import dispatch, graph
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.answers import Asked, small
from tests.certified.cpu.planes import planes_for_all
from tests.certified.radii import values_of

METRICS = definition.METRICS
ISAS = dispatch.available()


def ranked(values: np.ndarray, most: int, metric: str, names: np.ndarray) -> np.ndarray:
    """The nearest rows of each row, itself among them, by all values, (rows, rows); of equals the smaller name first."""
    by_name = np.argsort(names)
    keys = (values if metric == "l2" else -values)[:, by_name]
    return by_name[np.argsort(keys, axis=1, kind="stable")[:, :most]]


def expected(
    values: np.ndarray, k: int, itself: bool, metric: str, names: np.ndarray, order: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """By all values, (rows, rows); ``order`` is that of ``ranked``, where it is known."""
    order = (ranked(values, k + 1, metric, names) if order is None else order)[:, : k + 1]
    if not itself:
        order = np.stack([line[line != row][:k] for row, line in enumerate(order)])
    order = order[:, :k]
    return names[order], np.take_along_axis(values, order, axis=1)


@given(small(), st.booleans(), st.integers(0, 9999))
def test_any_small_data(asked: Asked, itself: bool, seed: int) -> None:
    rows, _, metric, k, _ = asked
    most = len(rows) - (not itself)
    if most < 1:
        with pytest.raises(KnnscopeError, match="no neighbor to find"):
            ExactIndex(rows, metric).knn_graph(1, itself)
        return
    names = np.random.default_rng(seed).permutation(len(rows) + 5)[: len(rows)]
    found = ExactIndex(rows, metric, ids=names).knn_graph(min(k, most), itself)
    ids, distances = expected(values_of(rows, rows, metric), min(k, most), itself, metric, names)
    assert found.ids.tolist() == ids.tolist()
    assert found.distances.tolist() == distances.tolist()


def rows_of(kind: str) -> np.ndarray:
    random = np.random.default_rng(0)
    fall = np.arange(1, 65) ** -0.8
    rows = random.standard_normal((1203, 64)) * fall
    if kind == "clusters":
        rows = rows[random.integers(0, 30, 1203)] + rows * 0.1
    if kind == "duplicates":
        rows[700:740] = rows[3]
        rows[random.integers(0, 1203, 100)] = rows[random.integers(0, 1203, 100)]
    if kind == "zeros":
        rows[::100] = 0
    return rows


NAMES = np.random.default_rng(1).permutation(1203)
ASKED = ((1, False), (15, True), (30, False))


@cache
def defined(metric: str, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """What every set of instructions answers to ASKED."""
    rows = rows_of(kind).astype(np.float32)
    values = definition.distances(rows, rows, metric)
    order = ranked(values, 1 + max(k for k, _ in ASKED), metric, NAMES)
    return [expected(values, k, itself, metric, NAMES, order) for k, itself in ASKED]


@pytest.mark.parametrize(
    ("metric", "kind", "isa"),
    [
        # by the fastest all of them, by each other one every metric and every kind
        pytest.param(metric, kind, isa, marks=[pytest.mark.slow] if isa != ISAS[0] and (i - j) % len(METRICS) else [])
        for i, metric in enumerate(METRICS)
        for j, kind in enumerate(("normal", "clusters", "duplicates", "zeros"))
        for isa in ISAS
    ],
)
def test_each_pair_once(monkeypatch: pytest.MonkeyPatch, metric: str, kind: str, isa: str) -> None:
    planes_for_all(monkeypatch)
    for name, value in (("GROUP", 320), ("PASS", 5), ("AMONG", 200), ("CLUSTER", 50)):
        monkeypatch.setattr(graph, name, value)
    rows = rows_of(kind).astype(np.float32)
    index = ExactIndex(rows, metric, device=f"cpu:{isa}", threads=2, ids=NAMES)
    asked: list[object] = []
    run = graph.GraphSearch.run
    monkeypatch.setattr(graph.GraphSearch, "run", lambda *args: asked.append(run(*args)) or asked[-1])
    for (k, itself), (ids, distances) in zip(ASKED, defined(metric, kind), strict=True):
        found = index.knn_graph(k, itself)
        np.testing.assert_array_equal(found.ids, ids)
        np.testing.assert_array_equal(found.distances, distances)
    assert len(asked) == 3
    assert all(one is not None for one in asked)


@pytest.mark.parametrize("dtype", definition.DTYPES)
def test_every_type(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    planes_for_all(monkeypatch)
    rows = (rows_of("duplicates") * 60).clip(-100, 100)
    rows = (abs(rows) if dtype == "uint8" else rows).astype(dtype)
    found = ExactIndex(rows, threads=2).knn_graph(4)
    ids, distances = expected(definition.distances(rows, rows, "l2"), 4, False, "l2", np.arange(1203))
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.distances, distances)


def test_a_row_far_off_is_asked_for_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    planes_for_all(monkeypatch)
    rows = rows_of("normal")
    rows[77] *= 1e9
    found = ExactIndex(rows).knn_graph(3)
    ids, _ = expected(definition.distances(rows, rows, "l2"), 3, False, "l2", np.arange(1203))
    np.testing.assert_array_equal(found.ids, ids)


def test_a_row_that_was_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    planes_for_all(monkeypatch)
    rows = rows_of("normal").astype(np.float32)
    index = ExactIndex(rows).wait()
    rows[55] += 5
    with pytest.raises(KnnscopeError, match="the vectors were changed"):
        index.knn_graph(3)


@pytest.mark.parametrize("named", [False, True])
def test_a_living_index_in_the_order_of_its_ids(named: bool) -> None:
    rows = rows_of("duplicates").astype(np.float32)
    names = np.random.default_rng(1).permutation(1203)
    called = np.array([f"doc {name:04}" for name in names]) if named else names
    index = ExactIndex(rows[:800], ids=called[:800])
    index.add(rows[800:1190], ids=called[800:1190])
    index.add(rows[1190:], ids=called[1190:])
    index.remove(called[50:150])
    left = np.r_[0:50, 150:1203]
    found = index.knn_graph(6)
    assert index.ids.tolist() == called[left].tolist()
    ids, distances = expected(definition.distances(rows[left], rows[left], "l2"), 6, False, "l2", names[left])
    assert found.ids.tolist() == ([[f"doc {name:04}" for name in line] for line in ids] if named else ids.tolist())
    np.testing.assert_array_equal(found.distances, distances)


@pytest.mark.parametrize("k", [0, 10, 1.5, True, "all"])
def test_no_such_k(k: object) -> None:
    with pytest.raises(KnnscopeError, match=r"k = .* 1 to 9, the rows that may be neighbors"):
        ExactIndex(np.eye(10)).knn_graph(k)  # type: ignore[arg-type]
    assert ExactIndex(np.eye(10)).knn_graph(10, include_self=True).ids.shape == (10, 10)


@settings(max_examples=20)
@given(st.data())
@pytest.mark.parametrize("isa", ISAS)
def test_pairs_of_any_small_data(isa: str, data: st.DataObject) -> None:
    """Near-duplicates, ties, dimensions that fill no register, few rows; and clusters change nothing."""
    count, dim = data.draw(st.integers(42, 130)), data.draw(st.sampled_from((32, 33, 70, 100)))
    metric, itself = data.draw(st.sampled_from(METRICS)), data.draw(st.booleans())
    shape = data.draw(st.sampled_from(("ties", "near", "opposite", "spread")))
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    rows = random.integers(-2, 3, (count, dim)).astype(np.float32)
    if shape != "ties":
        rows = random.standard_normal((count, dim)) * np.arange(1, dim + 1) ** -1.0
    if shape == "near":
        rows = rows[random.integers(0, 5, count)] * (1 + 1e-6 * random.standard_normal((count, dim)))
    if shape == "opposite":
        rows[::2] = -rows[1::2][: len(rows[::2])] if count % 2 == 0 else -rows[::2]
    names, k = random.permutation(count), min(data.draw(st.sampled_from((1, 5, 20))), count - 1)
    with pytest.MonkeyPatch.context() as patch:
        planes_for_all(patch)
        for name, value in (
            ("CLUSTER", data.draw(st.integers(1, 90))),
            ("GROUP", 80),
            ("PASS", data.draw(st.integers(1, 5))),
        ):
            patch.setattr(graph, name, value)
        rows = rows.astype(np.float32)
        found = ExactIndex(rows, metric, device=f"cpu:{isa}", ids=names).knn_graph(k, itself)
    ids, distances = expected(values_of(rows, rows, metric), k, itself, metric, names)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.distances, distances)
