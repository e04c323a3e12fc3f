"""certex: exact search by certified exclusion, of another project; rows and answers stay on the GPU."""

from __future__ import annotations

from typing import Any

import certex
import numpy as np

from knnscope.errors import UnsupportedError
from knnscope.records import Capabilities, Neighbors
from knnscope.search import definition
from knnscope.search.device import is_device
from knnscope.search.engine import Array
from knnscope.search.engines.torch import as_torch
from knnscope.search.rounding import Formula


class CertexEngine:
    """Right rows where there are no ties, distances in float32; it has no rule for ties."""

    capabilities = Capabilities(
        metrics=frozenset(definition.METRICS),
        dtypes=frozenset({"float32", "float16", "int8", "uint8"}),
        devices=frozenset({"cuda"}),
        max_k=2048,
    )

    def formula(self, metric: str, dtype: str, queries: int, dim: int) -> Formula:  # noqa: ARG002
        """Differences: rows that its bound leaves are computed in float64 and told in float32."""
        return Formula("difference")

    def build(self, vectors: Array, metric: str) -> CertexIndex:
        """Add the rows to an empty index.

        Raises:
            UnsupportedError: whole numbers by their cosine, which the library does not take.
        """
        if metric == "cosine" and vectors.dtype.kind != "f":
            raise UnsupportedError(f"certex has no cosine of {vectors.dtype}: float32 and float16")
        return CertexIndex(vectors, metric)


class CertexIndex:
    """The library's index."""

    def __init__(self, vectors: Array, metric: str) -> None:
        self._index: Any = certex.Index(dim=vectors.shape[1], metric=metric)
        self._index.add(np.array(vectors, order="C"))  # its own: it warns of arrays that may only be read
        self._type = vectors.dtype

    def search(self, queries: Any, k: int) -> Neighbors:
        """One call; queries have the type of the rows there."""
        asked = as_torch(queries.astype(self._type) if isinstance(queries, np.ndarray) else queries, "cuda")
        values, ids = self._index.search(asked, k)
        if is_device(queries):
            return Neighbors(ids, values)
        return Neighbors(ids.cpu().numpy(), values.cpu().numpy())
