"""scikit-learn's nearest neighbors with exact answers: ``from knnscope.sklearn import NearestNeighbors``. See docs/drop-ins.md."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.certified.radius import MOST
from knnscope.errors import KnnscopeError, require

_host, _validation, _joblib = require("sklearn.neighbors"), require("sklearn.utils.validation"), require("joblib")
_Neighbors: Any = _host.NearestNeighbors
_OfK: Any = _host.KNeighborsTransformer
_OfRadius: Any = _host.RadiusNeighborsTransformer

# Ours, its values as told, and one that leaves out nothing told to be within r: what has r as its root is one float64 beyond r * r at most.
_EUCLIDEAN = ("l2", np.sqrt, lambda radii: np.nextafter(radii * radii, np.inf))
_SAME = 1 - 2**-51  # rounding makes this of a row's cosine with itself, at distance 0; and less than -1, at 2
_METRICS: dict[str, tuple[str, Any, Any]] = {
    **dict.fromkeys(("euclidean", "l2", "minkowski"), _EUCLIDEAN),
    "sqeuclidean": ("l2", np.array, lambda radii: np.maximum(radii, 0)),
    "cosine": ("cosine", lambda values: np.clip(1 - values, 0, 2) * (values < _SAME), lambda radii: 1 - radii - np.where(radii < 2, 2**-50, 9)),
}  # fmt: skip


class UnsupportedMetricError(KnnscopeError, ValueError):
    """A metric that only scikit-learn's own classes have."""


class _Exact:
    """What takes the place of scikit-learn's fitting and searching; all else is its own."""

    def _fit(self: Any, X: Any, y: Any = None) -> Any:  # noqa: ARG002
        p = (params := dict(self.metric_params or {})).pop("p", self.p)
        if params or str(self.metric) not in _METRICS or (self.metric == "minkowski" and p != 2):
            have = f"{', '.join(_METRICS)}, with p=2 and without weights: scikit-learn's own class has others"
            raise UnsupportedMetricError(f"metric={self.metric!r}, p={p}: this class has {have}")
        rows = np.asarray(X.data) if isinstance(X, (_host.BallTree, _host.KDTree)) else getattr(X, "_fit_X", X)
        self._fit_X = _validation.validate_data(self, rows, order="C")
        self.n_samples_fit_, self._fit_method, self._tree, self._jobs = len(self._fit_X), "brute", None, None
        self.effective_metric_, self.effective_metric_params_ = self.metric.replace("minkowski", "euclidean"), params
        self._index = ExactIndex(self._fit_X, _METRICS[self.metric][0], threads=self._threads)
        self._jobs = self.n_jobs  # what need not be said again: a search of few queries is quicker so
        return self

    _threads = property(lambda self: None if self.n_jobs == self._jobs else _joblib.effective_n_jobs(self.n_jobs))

    def _queries(self: Any, X: Any) -> Any:
        _validation.check_is_fitted(self)
        return self._fit_X if X is None else _validation.validate_data(self, X, order="C", reset=False)

    def kneighbors(self: Any, X: Any = None, n_neighbors: Any = None, return_distance: bool = True) -> Any:
        """The nearest rows of each query, as scikit-learn's; without queries those of every row, itself left out."""
        queries, k, own = self._queries(X), index(self.n_neighbors if n_neighbors is None else n_neighbors), X is None
        if k <= 0:
            raise ValueError(f"Expected n_neighbors > 0. Got {k}")
        if k > self.n_samples_fit_ - own:
            wanted = f"Expected n_neighbors {'<' if own else '<='} n_samples_fit, but n_neighbors = {k}"
            raise ValueError(f"{wanted}, n_samples_fit = {self.n_samples_fit_}, n_samples = {len(queries)}")
        search, asked = (self._index.knn_graph, (k,)) if own else (self._index.search, (queries, k))
        ids, values = search(*asked, threads=self._threads)
        return (_METRICS[self.effective_metric_][1](values), ids) if return_distance else ids

    @np.errstate(over="ignore")
    def radius_neighbors(
        self: Any, X: Any = None, radius: Any = None, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """All rows within a radius of each query, as scikit-learn's: by row, or nearest first; without queries of every row, itself left out."""
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        queries, (_, told, reach) = self._queries(X), _METRICS[self.effective_metric_]
        radii = np.fmax(np.float64(self.radius if radius is None else radius), np.full(len(queries), -1.0))  # no NaN
        found = self._index.radius_search(queries, reach(radii), limit=MOST, threads=self._threads)
        values, whose = told(found.distances), np.repeat(np.arange(len(queries)), found.counts)
        within = (values <= radii[whose]) & ((found.ids != whose) | (X is not None))
        order = np.flatnonzero(within) if sort_results else np.lexsort((found.ids, whose, ~within))[: within.sum()]
        ends = np.concatenate([[0], np.cumsum(within)])[found.offsets[1:-1]]
        lines = [np.fromiter(np.split(a[order], ends), np.object_, len(queries)) for a in (values, found.ids)]
        return tuple(lines) if return_distance else lines[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = False
        return tags


class NearestNeighbors(_Exact, _Neighbors):  # type: ignore[misc]
    """``sklearn.neighbors.NearestNeighbors``, exact: neighbors as float64 orders them, ties by the smaller row."""


class KNeighborsTransformer(_Exact, _OfK):  # type: ignore[misc]
    """``sklearn.neighbors.KNeighborsTransformer``, exact in the same way."""


class RadiusNeighborsTransformer(_Exact, _OfRadius):  # type: ignore[misc]
    """``sklearn.neighbors.RadiusNeighborsTransformer``, exact in the same way."""
