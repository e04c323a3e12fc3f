"""This project's own exact search, as an engine."""

from __future__ import annotations

from knnscope.certified.index import ExactIndex
from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.engine import Array
from knnscope.search.rounding import DEFINITION, Formula


class CertifiedEngine:
    """Reads a byte a component or less instead of four, and answers as defined all the same."""

    capabilities = Capabilities(metrics=frozenset(definition.METRICS), dtypes=frozenset(definition.DTYPES), exact=True)

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The definition."""
        return DEFINITION

    def build(self, vectors: Array, metric: str) -> CertifiedIndex:
        """Write the rows as codes."""
        return CertifiedIndex(ExactIndex(vectors, metric, device="cpu"))


class CertifiedGpuEngine:
    """The same on a GPU; queries that lie there are answered there."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset(definition.DTYPES),
        devices=frozenset({"cuda"}),
        exact=True,
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """The definition."""
        return DEFINITION

    def build(self, vectors: Array, metric: str) -> CertifiedIndex:
        """Copy the rows to the GPU and write them as codes."""
        return CertifiedIndex(ExactIndex(vectors, metric, device="cuda"))


class CertifiedIndex:
    """Codes, and the rows as they were given."""

    def __init__(self, index: ExactIndex) -> None:
        self._index = index
        self.how = (
            f"{index.levels} first, integer products; then the rows that may be neighbors in float64, by the definition"
        )

    def search(self, queries: Array, k: int) -> Neighbors:
        """One certified search."""
        return self._index.search(queries, k)
