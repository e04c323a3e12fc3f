"""The float64 reference: slow, and right by definition."""

from __future__ import annotations

from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array
from knnscope.search.rounding import DEFINITION, Formula
from knnscope.threads import budget


class Numpy64Engine:
    """Answers with the definition in search/definition.py itself."""

    capabilities = Capabilities(metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES), exact=True)

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The definition."""
        return DEFINITION

    def build(self, vectors: Array, metric: str) -> Numpy64Index:
        """Keep the rows as they are."""
        return Numpy64Index(vectors, metric)


class Numpy64Index:
    """The rows and the metric."""

    def __init__(self, vectors: Array, metric: str) -> None:
        self._rows = vectors
        self._metric = metric
        self.how = "every distance in float64, by the definition: the reference, not built to be fast"

    def search(self, queries: Array, k: int) -> Neighbors:
        """One pass over the rows for every 16 queries."""
        return definition.search(self._rows, queries, k, self._metric, budget())
