"""openTSNE with neighbors of ours, through its index of neighbors that are there already, and through one of its own kind that searches."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import openTSNE
import pytest
from openTSNE.affinity import PerplexityBasedNN
from openTSNE.nearest_neighbors import KNNIndex, PrecomputedNeighbors

from knnscope.sklearn import NearestNeighbors

TESTED = "1.0.4"
RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.standard_normal((60, 16)) + 8 * place for place in np.eye(16)[:3]])
NEW = ROWS[::20] + 0.1
pytestmark = pytest.mark.filterwarnings("default")


class Exact(KNNIndex):  # type: ignore[misc]
    """An index of openTSNE's kind, for rows that are placed later as well."""

    VALID_METRICS = ("euclidean", "cosine")

    def build(self) -> Any:
        self.index = NearestNeighbors(n_neighbors=self.k, metric=self.metric).fit(self.data)
        distances, ids = self.index.kneighbors()
        return ids, distances

    def query(self, query: Any, k: int) -> Any:
        distances, ids = self.index.kneighbors(query, k)
        return ids, distances


def test_the_host_is_the_one_that_was_tested() -> None:
    assert version("openTSNE") == TESTED, f"write down which version these tests hold for; {TESTED} is named"


def test_its_affinities_are_those_of_exact_neighbors() -> None:
    distances, ids = NearestNeighbors(n_neighbors=30).fit(ROWS).kneighbors()
    ours = PerplexityBasedNN(perplexity=10, knn_index=PrecomputedNeighbors(ids, distances))
    own = PerplexityBasedNN(ROWS, perplexity=10, method="exact")
    np.testing.assert_allclose(ours.P.toarray(), own.P.toarray(), atol=1e-9)
    found = openTSNE.TSNE(n_iter=20, early_exaggeration_iter=20, random_state=0).fit(affinities=ours)
    assert found.shape == (180, 2)
    assert np.isfinite(found).all()


def test_rows_that_come_later_are_placed_by_exact_neighbors() -> None:
    ours = PerplexityBasedNN(perplexity=10, knn_index=Exact(ROWS, 30, metric="euclidean"))
    own = PerplexityBasedNN(ROWS, perplexity=10, method="exact")
    np.testing.assert_allclose(ours.P.toarray(), own.P.toarray(), atol=1e-9)
    placed = [affinities.to_new(NEW, perplexity=5, return_distances=True) for affinities in (ours, own)]
    (mine, near, far), (theirs, right, distances) = placed
    assert (near == right).all()
    np.testing.assert_allclose(far, distances, rtol=1e-9)
    np.testing.assert_allclose(mine.toarray(), theirs.toarray(), atol=1e-9)
