"""scanpy with our transformer, through ``neighbors(transformer=)``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import anndata
import numpy as np
import pytest
import scanpy
import sklearn.neighbors
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator, TransformerMixin

from knnscope.sklearn import KNeighborsTransformer

TESTED = ("1.11.5", "1.12.4")  # the first is the last one for Python 3.11
RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.standard_normal((80, 16)) + 8 * place for place in np.eye(16)[:3]])
pytestmark = pytest.mark.filterwarnings("default")


def test_the_host_is_one_that_was_tested() -> None:
    assert version("scanpy") in TESTED, f"write down which version these tests hold for; {TESTED} are named"


class Reference(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """All distances by differences in float64, of which the smallest are kept; a row is at 0 of itself."""

    def __init__(self, n_neighbors: int, metric: str) -> None:
        self.n_neighbors, self.metric = n_neighbors, metric

    def fit_transform(self, rows: Any, y: Any = None) -> Any:
        if self.metric == "cosine":
            unit = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
            whole = ((unit[:, None] - unit) ** 2).sum(axis=2) / 2
        else:
            whole = np.sqrt(((rows[:, None] - rows) ** 2).sum(axis=2))
        ids = np.argsort(whole, axis=1, kind="stable")[:, : self.n_neighbors + 1]
        ends = np.arange(len(rows) + 1) * ids.shape[1]
        return csr_matrix((np.take_along_axis(whole, ids, axis=1).ravel(), ids.ravel(), ends), shape=whole.shape)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("method", ["umap", "gauss"])
def test_its_graphs_are_those_of_exact_distances(metric: str, method: str) -> None:
    made = []
    for of in (KNeighborsTransformer, Reference):
        cells = anndata.AnnData(ROWS)
        scanpy.pp.neighbors(cells, use_rep="X", transformer=of(n_neighbors=12, metric=metric), method=method)
        made.append(cells)
    ours, right = made
    assert ours.uns["neighbors"]["params"]["n_neighbors"] == right.uns["neighbors"]["params"]["n_neighbors"]
    for name in ("distances", "connectivities"):
        assert type(ours.obsp[name]) is type(right.obsp[name])
        np.testing.assert_allclose(ours.obsp[name].toarray(), right.obsp[name].toarray(), atol=1e-5)


def test_with_scikit_learns_own_some_rows_are_not_at_0_of_themselves_and_the_graph_is_another() -> None:
    made = []
    for of in (KNeighborsTransformer, sklearn.neighbors.KNeighborsTransformer):
        cells = anndata.AnnData(ROWS)
        scanpy.pp.neighbors(cells, use_rep="X", transformer=of(n_neighbors=12))
        made.append(cells.obsp["connectivities"].toarray())
    assert np.abs(made[0] - made[1]).max() > 0.1


def test_what_follows_from_the_graph_runs() -> None:
    cells = anndata.AnnData(ROWS)
    scanpy.pp.neighbors(cells, use_rep="X", transformer=KNeighborsTransformer(n_neighbors=12))
    parts, part = connected_components(cells.obsp["connectivities"])
    assert parts == 3  # three clouds, far apart
    assert (part == np.repeat(part[::80], 80)).all()
    scanpy.tl.umap(cells, maxiter=10, random_state=0)
    assert cells.obsm["X_umap"].shape == (240, 2)
