"""knnscope.sklearn against scikit-learn and against float64's definition. Its own tests run in test_sklearn_suite.py."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.neighbors
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from knnscope import sklearn as ours
from knnscope.errors import KnnscopeError, MissingLibraryError
from knnscope.search import definition
from knnscope.sklearn import _METRICS, KNeighborsTransformer, NearestNeighbors, RadiusNeighborsTransformer

TESTED = "1.9.1"
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
each_check: Callable[[list[Any]], Decorator] = estimator_checks.parametrize_with_checks
OURS = {"euclidean": "l2", "l2": "l2", "minkowski": "l2", "sqeuclidean": "l2", "cosine": "cosine"}
RNG = np.random.default_rng(0)
ROWS, QUERIES = RNG.standard_normal((300, 24)), RNG.standard_normal((7, 24))


def told(values: Any, metric: str) -> Any:
    """Values of the definition as scikit-learn has them."""
    if OURS[metric] == "cosine":
        return np.where(1 - values <= 2**-51, 0, np.minimum(1 - values, 2))
    return values if metric == "sqeuclidean" else np.sqrt(values)


def expected(rows: Any, queries: Any, metric: str) -> tuple[Any, Any]:
    """All distances in order, ties by row, and the rows: from the definition, which no certified search has to do with."""
    found = definition.select(definition.distances(rows, queries, OURS[metric]), len(rows), OURS[metric])
    return told(found.distances, metric), found.ids


def without_self(distances: Any, ids: Any) -> tuple[Any, Any]:
    """The same without the row itself."""
    others = ids != np.arange(len(ids))[:, None]
    return distances[others].reshape(len(ids), -1), ids[others].reshape(len(ids), -1)


grid = st.integers(1, 4).flatmap(
    lambda dim: st.tuples(
        *(arrays(np.float64, st.tuples(st.integers(2, most), st.just(dim)), elements=st.integers(-2, 2)) for most in (20, 5))
    )
)  # fmt: skip
"""Rows and queries with many ties and duplicates."""


def test_the_host_is_the_one_that_was_tested() -> None:
    assert version("scikit-learn") == TESTED, f"write down which version these tests hold for; {TESTED} is named"


def test_without_the_host_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "knnscope.sklearn")
    with pytest.raises(MissingLibraryError, match=r"sklearn is not installed: .*pip install"):
        importlib.import_module("knnscope.sklearn")


def test_it_is_short() -> None:
    assert len(Path(ours.__file__).read_text("utf-8").splitlines()) < 100


@pytest.mark.filterwarnings("ignore")
@each_check([NearestNeighbors(), KNeighborsTransformer(), RadiusNeighborsTransformer()])
def test_it_is_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


@given(grid, st.sampled_from(sorted(OURS)), st.data())
def test_neighbors_are_those_of_the_definition(given_arrays: Any, metric: str, data: st.DataObject) -> None:
    rows, queries = given_arrays
    k = data.draw(st.integers(1, len(rows)))
    of = NearestNeighbors(n_neighbors=k, metric=metric).fit(rows)
    distances, ids = of.kneighbors(queries)
    right, order = expected(rows, queries, metric)
    assert (ids == order[:, :k]).all()
    assert (distances == right[:, :k]).all()
    if k < len(rows):
        right, order = without_self(*expected(rows, rows, metric))
        distances, ids = of.kneighbors()
        assert (ids == order[:, :k]).all()
        assert (distances == right[:, :k]).all()
        assert (of.kneighbors(return_distance=False) == ids).all()


@given(grid, st.sampled_from(sorted(OURS)), st.data())
def test_all_within_a_radius_are_those_whose_distance_is_at_most_it(given_arrays: Any, metric: str, data: st.DataObject) -> None:  # fmt: skip
    """The radius is a distance that is told, so rows lie at exactly it."""
    rows, queries = given_arrays
    whole, own = expected(rows, queries, metric), without_self(*expected(rows, rows, metric))
    radius = data.draw(st.sampled_from(sorted({0.0, *whole[0].ravel().tolist(), *own[0].ravel().tolist()})))
    of = RadiusNeighborsTransformer(radius=radius, metric=metric).fit(rows)
    for asked, (right, order) in ((queries, whole), (None, own)):
        distances, ids = of.radius_neighbors(asked, sort_results=True)
        plain = of.radius_neighbors(asked, return_distance=False)
        assert distances.shape == ids.shape == plain.shape == (len(right),)
        for line in range(len(right)):
            within = right[line] <= radius
            assert distances[line].tolist() == right[line][within].tolist()
            assert ids[line].tolist() == order[line][within].tolist()
            assert plain[line].tolist() == sorted(ids[line].tolist())


@pytest.mark.parametrize("metric", sorted(OURS))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_shapes_types_and_graphs_are_the_hosts(metric: str, dtype: Any) -> None:
    rows, queries = ROWS.astype(dtype), QUERIES.astype(dtype)
    how: dict[str, Any] = {
        "n_neighbors": 6,
        "metric": metric,
        "algorithm": "brute",
        "radius": 0.8 if metric == "cosine" else 6.0,
    }
    host, ours = sklearn.neighbors.NearestNeighbors(**how).fit(rows), NearestNeighbors(**how).fit(rows)
    tolerance = 1e-6 if dtype == np.float64 else 1e-3  # the host's rounding
    for asked in (queries, None):
        for theirs, mine in zip(host.kneighbors(asked), ours.kneighbors(asked), strict=True):
            assert (theirs.shape, theirs.dtype.kind) == (mine.shape, mine.dtype.kind)
            np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)
        for theirs, mine in zip(host.radius_neighbors(asked), ours.radius_neighbors(asked), strict=True):
            assert (theirs.shape, theirs.dtype) == (mine.shape, mine.dtype)
            assert [len(line) for line in theirs] == [len(line) for line in mine]
        for mode in ("connectivity", "distance"):
            for name in ("kneighbors_graph", "radius_neighbors_graph"):
                theirs, mine = (getattr(of, name)(asked, mode=mode) for of in (host, ours))
                assert type(theirs) is type(mine)
                assert theirs.shape == mine.shape
                np.testing.assert_allclose(mine.toarray(), theirs.toarray(), rtol=tolerance, atol=tolerance)


def test_a_row_is_left_out_of_its_own_neighbors_among_its_duplicates() -> None:
    assert NearestNeighbors().fit(np.ones((4, 2))).kneighbors(n_neighbors=2)[1].tolist() == [
        [1, 2],
        [0, 2],
        [0, 1],
        [0, 1],
    ]
    assert NearestNeighbors().fit(np.ones((3, 1))).kneighbors_graph(n_neighbors=1).indices.tolist() == [1, 0, 0]


@pytest.mark.parametrize("metric", sorted(OURS))
def test_a_row_is_at_distance_0_of_itself(metric: str) -> None:
    """Of scikit-learn's rows many are at 1e-8 of themselves: what UMAP then takes for the nearest other row is the row itself."""
    found = KNeighborsTransformer(n_neighbors=3, metric=metric).fit_transform(ROWS)
    assert (found.indices.reshape(300, 4)[:, 0] == np.arange(300)).all()
    assert (found.data.reshape(300, 4)[:, 0] == 0).all()
    if metric in ("euclidean", "minkowski", "sqeuclidean"):
        host = sklearn.neighbors.KNeighborsTransformer(n_neighbors=3, metric=metric, algorithm="brute")
        assert (host.fit_transform(ROWS).data.reshape(300, 4)[:, 0] != 0).any()


def test_where_the_host_rounds_the_answer_is_still_float64s() -> None:
    """The host subtracts squared lengths: far from the origin that leaves nothing of small differences."""
    rows = 1e8 + RNG.standard_normal((500, 3))
    queries = rows[:50] + 1e-3
    right = expected(rows, queries, "euclidean")[1][:, :1]
    host = sklearn.neighbors.NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
    assert (host.kneighbors(queries)[1] != right).any()
    assert (NearestNeighbors(n_neighbors=1).fit(rows).kneighbors(queries)[1] == right).all()


def test_a_row_at_exactly_the_radius_is_within_it() -> None:
    rows, radius = np.ones((1, 3)), float(np.sqrt(3))
    assert radius * radius < 3  # which is what the host compares
    assert [len(line) for line in NearestNeighbors(radius=radius).fit(rows).radius_neighbors([[0, 0, 0]])[1]] == [1]
    assert [len(line) for line in NearestNeighbors(radius=1e300).fit(rows).radius_neighbors([[0, 0, 0]])[1]] == [1]


@pytest.mark.parametrize("metric", sorted(OURS))
def test_no_value_that_is_told_to_be_within_a_radius_is_beyond_what_is_searched(metric: str) -> None:
    """Each is at exactly the radius."""
    if OURS[metric] == "cosine":
        values = np.concatenate(
            [RNG.uniform(-1, 1, 100_000), 1 - np.geomspace(1e-17, 1, 10_000), [-1 - 2**-40, -1, 0, 1, 1 + 2**-52]]
        )
    else:
        values = np.concatenate([RNG.uniform(0, 4, 100_000), np.geomspace(5e-324, 1e308, 100_000), [0, 2, 3]])
    _, tell, reach = _METRICS[metric]
    assert (tell(values) == told(values, metric)).all()
    assert (values >= reach(tell(values)) if OURS[metric] == "cosine" else values <= reach(tell(values))).all()


def test_all_rows_are_within_the_largest_cosine_distance() -> None:
    """Sums of many components round the cosine of opposite rows to values well below -1."""
    rows = np.abs(np.random.default_rng(0).standard_normal((50, 2000)))
    for radius in (2, 2.5, np.inf):
        found = NearestNeighbors(metric="cosine", radius=radius).fit(rows).radius_neighbors(rows * -0.37)[1]
        assert [len(line) for line in found] == [50] * 50


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("radius", [np.nan, -1.0, -np.inf, [0.5, np.nan, -2.0]])
def test_nothing_is_within_a_radius_that_is_none(metric: str, radius: Any) -> None:
    """As the host has it: no distance is at most that."""
    rows = np.random.default_rng(0).random((9, 4))
    found = NearestNeighbors(metric=metric).fit(rows).radius_neighbors(rows[:3], radius=radius)[1]
    assert [len(line) > 0 for line in found] == (np.broadcast_to(radius, 3) >= 0).tolist()


@pytest.mark.parametrize(
    "how",
    [
        {"metric": "manhattan"},
        {"metric": "precomputed"},
        {"metric": np.dot},
        {"p": 1},
        {"metric_params": {"w": [1, 2]}},
    ],
)
def test_another_metric_is_refused_in_one_line(how: dict[str, Any]) -> None:
    with pytest.raises(KnnscopeError, match=r"this class has euclidean, l2, .*scikit-learn's own class") as caught:
        NearestNeighbors(**how).fit(np.ones((3, 2)))
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_errors_are_of_the_hosts_kinds() -> None:
    of = NearestNeighbors(n_neighbors=3)
    with pytest.raises(NotFittedError):
        of.kneighbors(ROWS)
    with pytest.raises(NotFittedError):
        of.radius_neighbors(ROWS)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        of.fit(csr_array(ROWS))
    of.fit(ROWS[:3])
    with pytest.raises(
        ValueError, match="n_neighbors <= n_samples_fit, but n_neighbors = 4, n_samples_fit = 3, n_samples = 7"
    ):
        of.kneighbors(QUERIES, 4)
    with pytest.raises(ValueError, match="n_neighbors < n_samples_fit"):
        of.kneighbors()
    with pytest.raises(ValueError, match="n_neighbors > 0"):
        of.kneighbors(QUERIES, 0)
    with pytest.raises(TypeError):
        of.kneighbors(QUERIES, 1.5)
    with pytest.raises(ValueError, match="features"):
        of.kneighbors(QUERIES[:, :3])
    with pytest.raises(ValueError, match="return_distance"):
        of.radius_neighbors(QUERIES, return_distance=False, sort_results=True)


def test_it_survives_pickling_cloning_and_threads() -> None:
    of = NearestNeighbors(n_neighbors=4, metric="cosine", n_jobs=2).fit(ROWS)
    again = pickle.loads(pickle.dumps(of))
    for mine, kept, one in zip(
        of.kneighbors(QUERIES),
        again.kneighbors(QUERIES),
        clone(of).set_params(n_jobs=1).fit(ROWS).kneighbors(QUERIES),
        strict=True,
    ):
        assert (mine == kept).all()
        assert (mine == one).all()
    assert (of.set_params(n_jobs=1).kneighbors(QUERIES)[1] == again.kneighbors(QUERIES)[1]).all()
    with pytest.raises(ValueError, match="n_jobs == 0"):
        of.set_params(n_jobs=0).kneighbors(QUERIES)
    assert clone(of).get_params() == of.get_params()
    assert sklearn.neighbors.NearestNeighbors().get_params() == NearestNeighbors().get_params()


def test_it_stands_in_a_pipeline() -> None:
    points = np.concatenate([RNG.standard_normal((40, 2)) * 0.1 + place for place in ([0, 0], [5, 0], [0, 5])])
    pipeline = make_pipeline(RadiusNeighborsTransformer(radius=0.5), DBSCAN(eps=0.5, metric="precomputed"))
    assert (pipeline.fit_predict(points) == DBSCAN(eps=0.5).fit_predict(points)).all()
    transformer = KNeighborsTransformer(n_neighbors=3).fit(points)
    assert transformer.get_feature_names_out()[:2].tolist() == ["kneighborstransformer0", "kneighborstransformer1"]
    host = sklearn.neighbors.KNeighborsTransformer(n_neighbors=3).fit_transform(points)
    np.testing.assert_allclose(transformer.transform(points).toarray(), host.toarray(), atol=1e-9)
