"""scikit-learn's own tests of its nearest neighbors, as its wheel brings them, with our classes in place of its own."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.neighbors

from knnscope import sklearn as ours

pytestmark = pytest.mark.filterwarnings("default")  # its own suite lets them pass
TESTED = "1.9.1"
CLASSES = ("NearestNeighbors", "KNeighborsTransformer", "RadiusNeighborsTransformer")
METRICS = {"euclidean", "l2", "sqeuclidean", "cosine", "minkowski"}
OF_ANOTHER_METRIC = "another metric: refused in one line, test_sklearn.py"
LEFT_OUT = {
    "test_callable_metric": OF_ANOTHER_METRIC,
    "test_nan_euclidean_support": OF_ANOTHER_METRIC,
    "test_nearest_neighbours_works_with_p_less_than_1": OF_ANOTHER_METRIC,
    "test_non_euclidean_kneighbors": OF_ANOTHER_METRIC,
    "test_pairwise_boolean_distance": OF_ANOTHER_METRIC,
    "test_precomputed_sparse_invalid": "precomputed distances: there is nothing to search",
    "test_precomputed_sparse_knn": "precomputed distances",
    "test_precomputed_sparse_radius": "precomputed distances",
    "test_radius_neighbors_returns_array_of_objects": "precomputed distances",
    "test_sparse_metric_callable": "sparse rows: refused in one line",
    "test_valid_brute_metric_for_auto_algorithm": "sparse rows",
    "test_auto_algorithm": "asks which of its own algorithms was chosen",
    "test_k_and_radius_neighbors_duplicates": "of three equal rows it gives the third the second as neighbor; here it is the smallest id, test_sklearn.py",
}
"""Tests of the host that use these classes and cannot hold here, and why."""


def taken(stem: str) -> Any:
    """A module of the host's tests in which its classes are ours."""
    name = f"sklearn.neighbors.tests.{stem}"
    importlib.import_module(name)  # what it imports has the host's classes, and keeps them
    with pytest.MonkeyPatch.context() as patch:
        for one in CLASSES:
            patch.setattr(sklearn.neighbors, one, getattr(ours, one))
        for one in ("kneighbors_graph", "radius_neighbors_graph"):  # the module wraps them where they lie
            patch.setattr(sklearn.neighbors, one, getattr(sklearn.neighbors, one))
        patch.delitem(sys.modules, name)
        module: Any = importlib.import_module(name)
        same: dict[str, Any] = dict(vars(sklearn.neighbors))
    if hasattr(module, "neighbors"):
        module.neighbors = SimpleNamespace(**same)
        module._generate_test_params_for = lambda metric, n_features: [{}]
        module.P = (2,)
    return module


def is_here(names: Any, value: Any) -> bool:
    """Whether a set of parameters asks for a metric and a class that are here."""
    given = {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))
    metric, of = given.get("metric"), given.get("KNeighborsMixinSubclass")
    return (metric is None or metric in METRICS) and (of is None or of.__module__ == ours.__name__)


def narrowed(test: Any) -> Any:
    """The test for metrics and classes that are here only."""
    marks = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args
            mark = pytest.mark.parametrize(names, [value for value in values if is_here(names, value)]).mark
            assert mark.args[1], test
        marks.append(mark)
    test.pytestmark = marks
    return test


def uses(test: Any) -> bool:
    """Whether a test makes objects of one of these classes."""
    given = [str(mark.args) for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    return any(re.search(rf"\b({'|'.join(CLASSES)})\b", text) for text in (inspect.getsource(test), *given))


FOUND: dict[str, Any] = {}
for stem in ("test_neighbors", "test_neighbors_pipeline", "test_graph"):
    tests = [(name, test) for name, test in vars(taken(stem)).items() if name.startswith("test_") and callable(test)]
    FOUND |= {f"{stem}_{name}": test for name, test in tests if uses(test)}
TAKEN = {name: test for name, test in FOUND.items() if test.__name__ not in LEFT_OUT}
globals().update({f"test_of_the_host_{name}": narrowed(test) for name, test in TAKEN.items()})


@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def global_random_seed() -> int:
    return 42


def test_the_host_is_the_one_whose_tests_these_are() -> None:
    assert version("scikit-learn") == TESTED, f"write down which version these tests hold for; {TESTED} is named"


def test_what_is_left_out_is_there_and_the_rest_runs() -> None:
    assert {*LEFT_OUT} <= {test.__name__ for test in FOUND.values()}
    assert len(TAKEN) >= 20
