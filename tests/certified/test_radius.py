"""All rows within a radius: the definition's, none missing and none too many, whatever the radius, the level that is asked and the way there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import knnscope
from knnscope.certified.cpu import dispatch, plane, within
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.index import ExactIndex
from knnscope.certified.scanner import RadiusRequest
from knnscope.errors import KnnscopeError
from knnscope.ragged import RadiusNeighbors
from knnscope.search import definition
from tests.certified.cpu.planes import planes_for_all
from tests.certified.radii import AskedRadius, check, inside, small_radius, values_of

METRICS = definition.METRICS
ISAS = dispatch.available()


@given(small_radius())
def test_any_small_data(asked: AskedRadius) -> None:
    check(ExactIndex(asked.rows, asked.metric, threads=2), asked)


@given(small_radius())
@settings(max_examples=40)
def test_any_small_data_by_numpy(asked: AskedRadius) -> None:
    rows, queries, metric, radius, where = asked
    keys = np.broadcast_to(radius if metric == "l2" else -np.asarray(radius), len(queries)).astype(np.float64)
    mask = np.empty((0, len(rows)), bool) if where is None else np.atleast_2d(where)
    with np.errstate(all="ignore"):
        request = RadiusRequest(queries.astype(np.float64), keys, mask, 1 << 30, 1 << 30)
        found = Plain(rows, np.empty(0, np.int64), metric).within(request)
    values = values_of(rows, queries, metric)
    for number in range(len(queries)):
        own = None if where is None else where if where.ndim == 1 else where[number]
        ids, distances = inside(values[number], np.broadcast_to(radius, len(queries))[number], metric, own)
        some = slice(found.offsets[number], found.offsets[number + 1])
        assert found.ids[some].tolist() == ids.tolist()
        assert found.distances[some].tolist() == distances.tolist()


def many(metric: str, dtype: str = "float32", seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for which a plane is built, queries, and every value."""
    random = np.random.default_rng(seed)
    fall = np.arange(1, 65) ** -0.8
    rows, queries = ((random.standard_normal((n, 64)) * fall * 40).clip(-127, 127).astype(dtype) for n in (6000, 150))
    rows[10:14] = rows[5000]
    return rows, queries, definition.distances(rows, queries, metric)


def assert_within(found: RadiusNeighbors, values: np.ndarray, radii: np.ndarray, metric: str) -> None:
    for number in range(len(values)):
        ids, distances = inside(values[number], radii[number], metric)
        np.testing.assert_array_equal(found[number][0], ids)
        np.testing.assert_array_equal(found[number][1], distances)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("memory", ["fast", "small"])
@pytest.mark.parametrize("metric", METRICS)
def test_by_every_level_and_instruction_set(
    monkeypatch: pytest.MonkeyPatch, metric: str, memory: str, isa: str
) -> None:
    planes_for_all(monkeypatch)
    rows, queries, values = many(metric)
    index = ExactIndex(rows, metric, device=f"cpu:{isa}", threads=2, memory=memory)
    ascending = np.sort(values if metric == "l2" else -values, axis=1)
    paths = set()
    for rank in (0, 10, 2500):
        radii = ascending[:, rank] if metric == "l2" else -ascending[:, rank]
        for batch in (1, 3, 11, 150):
            found = index.radius_search(queries[:batch], radii[:batch])
            assert_within(found, values[:batch], radii, metric)
            paths |= set(found.certificate.path)
    assert "plane" in paths
    if memory == "fast":
        assert len(paths) == 2


@pytest.mark.parametrize("dtype", definition.DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_every_type_by_the_codes(metric: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(within, "FEWEST", 64)  # several parts of the rows
    monkeypatch.setattr(within, "PLACES", 1)
    monkeypatch.setattr(within, "TOGETHER", 100)  # queries at a time
    rows, queries, values = many(metric, dtype)
    rows, values = rows[:1000], values[:, :1000]
    radii = np.median(np.sort(values, axis=1)[:, 100 if metric == "l2" else -100])
    found = ExactIndex(rows, metric, threads=2).radius_search(queries, radii)
    assert_within(found, values, np.full(150, radii), metric)


def test_a_row_at_exactly_the_radius_is_within_it() -> None:
    rows, queries, values = many("l2")
    index = ExactIndex(rows)
    for number in range(3):
        exact = float(np.sort(values[number])[40])
        counts = [len(index.radius_search(queries[number], r).ids) for r in (exact, np.nextafter(exact, 0))]
        assert counts == [(values[number] <= exact).sum(), (values[number] < exact).sum()]
        assert counts[0] > counts[1]


def test_one_query_that_no_bound_holds_for_does_not_send_the_others_through_all_rows() -> None:
    rows, queries, values = many("l2")
    queries, radii = queries[:9].astype(np.float64), np.sort(values[:9], axis=1)[:, 20].copy()
    queries[4] *= 1e80
    radii[4] = np.inf
    found = ExactIndex(rows).radius_search(queries, radii)
    computed = found.certificate.computed
    assert computed[4] == len(rows) == found.counts[4]
    assert np.delete(computed, 4).max() < 500
    assert np.isinf(found.certificate.margin[4])
    assert set(np.delete(found.certificate.margin, 4)) == {0.0}


def test_the_limit_is_an_error_and_no_cut() -> None:
    rows, queries, values = many("l2")
    index = ExactIndex(rows, threads=2)
    radius = float(np.sort(values[0])[99])
    counts = (values <= radius).sum(axis=1)
    index.radius_search(queries, radius, limit=int(counts.sum()), limit_each=int(counts.max()))
    with pytest.raises(KnnscopeError, match=r"more than .* rows within the radius .* larger limit$"):
        index.radius_search(queries, radius, limit=int(counts.sum()) - 1)
    with pytest.raises(KnnscopeError, match=r"^query \d+ has more than .* larger limit_each$"):
        index.radius_search(queries, radius, limit_each=int(counts.max()) - 1)


def test_too_many_in_several_segments_are_told_by_the_limit_that_was_given() -> None:
    """Whichever segment has the answer that is one too many."""
    index = ExactIndex(np.zeros((1000, 3)))
    index.add(np.ones((10, 3)))
    for limit in (999, 1000, 1005):
        with pytest.raises(
            KnnscopeError, match=rf"^all queries together have more than {limit:,} rows .*\(at least 1,0\d0\)"
        ):
            index.radius_search(np.zeros(3), 9.0, limit=limit)
    assert len(index.radius_search(np.zeros(3), 9.0, limit=1010).ids) == 1010


@pytest.mark.parametrize(
    ("metric", "radius", "message"),
    [
        ("l2", -1, "radius is -1.0: a squared distance from 0 on was expected"),
        ("l2", np.nan, "radius is nan: a squared distance"),
        ("ip", np.nan, "radius is nan: the least similarity"),
        ("l2", [1.0, -0.5], "radius of query 1 is -0.5"),
        ("cosine", [1.0], r"radius has shape \(1,\) and type float64: a number, or one for each query, \(2,\), was expected"),
        ("l2", "near", "was expected"),
        ("l2", [[1.0], [1.0, 2.0]], "was expected"),
        ("l2", True, "was expected"),
        ("l2", np.ma.masked_equal([1.0, 2.0], 2.0), "radii are a masked array"),
    ],
)  # fmt: skip
def test_a_radius_that_is_none_is_refused(metric: str, radius: object, message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        ExactIndex(np.eye(4), metric).radius_search(np.eye(4)[:2], radius)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "all"])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    index = ExactIndex(np.eye(4))
    for given_ in ({"limit": limit}, {"limit_each": limit}):
        with pytest.raises(KnnscopeError, match=r"limit.* 1 to"):
            index.radius_search(np.eye(4), 1.0, **given_)  # type: ignore[arg-type]


def test_what_overflows_is_said() -> None:
    rows = np.full((50, 4), 1e200)
    rows[:, 2:] *= -1
    with pytest.raises(KnnscopeError, match="overflows"):
        ExactIndex(rows, "ip").radius_search(np.full(4, 1e200), 0.0)


def test_a_row_that_was_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    planes_for_all(monkeypatch)
    for memory, few in (("fast", 0.0), ("fast", np.inf), ("small", np.inf)):
        monkeypatch.setattr(plane, "WORTH", few)
        rows, queries, values = many("l2")
        index = ExactIndex(rows, memory=memory)
        nearest = int(values[0].argmin())
        rows[nearest] += 1000
        with pytest.raises(KnnscopeError, match=f"row {nearest:,} is not where its code says"):
            index.radius_search(queries[:1], float(np.sort(values[0])[5]))


def test_no_queries_one_query_and_no_answers() -> None:
    index = ExactIndex(np.eye(4))
    assert index.radius_search(np.empty((0, 4)), 1.0).offsets.tolist() == [0]
    single = index.radius_search(np.eye(4)[1], 0.0)
    assert (single.offsets.tolist(), single.ids.tolist(), single.distances.tolist()) == ([0, 1], [1], [0.0])
    assert len(index.radius_search(np.full((2, 4), 9.0), 0.0).ids) == 0
    assert len(ExactIndex(dim=4).radius_search(np.eye(4), 10.0).ids) == 0


def test_parts_tails_removed_rows_and_strings() -> None:
    rows, queries, values = many("l2")
    for named in (False, True):
        names = np.random.default_rng(3).permutation(6000)
        called = [f"doc {name:04}" for name in names] if named else names
        index = ExactIndex(rows[:3000], ids=called[:3000])
        index.add(rows[3000:5990], ids=called[3000:5990])
        index.add(rows[5990:], ids=called[5990:])
        index.remove(called[100:200])
        left = np.ones(6000, dtype=bool)
        left[100:200] = False
        radius = float(np.median(np.sort(values, axis=1)[:, 30]))
        found = index.radius_search(queries, radius, where=(left & (names % 2 == 0))[left])
        for number in range(len(queries)):
            ids, distances = inside(values[number], radius, "l2", left & (names % 2 == 0), names)
            got = found[number][0].tolist()
            assert got == ([f"doc {name:04}" for name in ids] if named else ids.tolist())
            assert found[number][1].tolist() == distances.tolist()
        with pytest.raises(KnnscopeError, match="larger limit"):
            index.radius_search(queries, radius, limit=10)


def test_what_is_saved_is_loaded_and_nothing_else(tmp_path: Path) -> None:
    rows, queries, values = many("cosine")
    found = ExactIndex(rows, "cosine").radius_search(queries, float(np.sort(values[0])[-20]))
    found.save(tmp_path / "found.npz")
    kept = knnscope.RadiusNeighbors.load(tmp_path / "found.npz")
    assert kept.to_dict() == found.to_dict()
    assert len(found.rows()) == len(found.ids)
    assert found.rows()[0] == {"query": 0, "rank": 1, "id": int(found.ids[0]), "distance": float(found.distances[0])}
    assert "150 queries" in repr(found)
    assert "<table>" in found._repr_html_()
    with pytest.raises(IndexError):
        found[150]
    arrays = dict(np.load(tmp_path / "found.npz"))
    for name, wrong in (
        ("offsets", arrays["offsets"][:-1]),
        ("ids", arrays["ids"].astype(float)),
        ("path", np.zeros(2)),
    ):
        np.savez(tmp_path / "wrong.npz", **{**arrays, name: wrong})
        with pytest.raises(KnnscopeError, match="not an answer"):
            RadiusNeighbors.load(tmp_path / "wrong.npz")
