"""UMAP with neighbors of ours, through ``precomputed_knn``."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest
import umap

from knnscope.sklearn import NearestNeighbors

TESTED = "0.5.12"
RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.standard_normal((100, 16)) + 8 * place for place in np.eye(16)[:3]])
MANY = RNG.standard_normal((4100, 30), dtype=np.float32)
pytestmark = pytest.mark.filterwarnings("default")


def test_the_host_is_the_one_that_was_tested() -> None:
    assert version("umap-learn") == TESTED, f"write down which version these tests hold for; {TESTED} is named"


def test_its_graph_is_the_one_of_exact_neighbors() -> None:
    """Of few rows UMAP itself computes all distances, so both graphs are the same but for its rounding."""
    distances, ids = NearestNeighbors(n_neighbors=15).fit(ROWS).kneighbors(ROWS)
    ours = umap.UMAP(n_neighbors=15, precomputed_knn=(ids, distances), n_epochs=20, random_state=0).fit(ROWS)
    own = umap.UMAP(n_neighbors=15, n_epochs=20, random_state=0).fit(ROWS)
    assert ours.knn_indices is ids
    assert ours.graph_.shape == own.graph_.shape
    np.testing.assert_allclose(ours.graph_.toarray(), own.graph_.toarray(), atol=1e-4)
    assert ours.embedding_.shape == (300, 2)
    assert np.isfinite(ours.embedding_).all()


def test_of_many_rows_its_own_neighbors_are_not_all_right_and_ours_are() -> None:
    """From 4,096 rows on UMAP searches by NN-descent."""
    distances, ids = NearestNeighbors(n_neighbors=15).fit(MANY).kneighbors(MANY)
    squares = ((MANY[:40, None].astype(np.float64) - MANY[None]) ** 2).sum(axis=2)
    assert (ids[:40] == np.argsort(squares, axis=1, kind="stable")[:, :15]).all()
    found = umap.umap_.nearest_neighbors(
        MANY, n_neighbors=15, metric="euclidean", metric_kwds={}, angular=False, random_state=np.random.RandomState(0)
    )[0]
    share = np.mean([len({*one} & {*right}) / 15 for one, right in zip(found.tolist(), ids.tolist(), strict=True)])
    assert 0.5 < share < 1
    graph = umap.umap_.fuzzy_simplicial_set(
        MANY, 15, np.random.RandomState(0), "euclidean", knn_indices=ids, knn_dists=distances.astype(np.float32)
    )[0]
    assert graph.shape == (4100, 4100)
    assert (np.diff(graph.indptr) >= 14).all()
