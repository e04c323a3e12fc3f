"""Faiss at its best on this processor: one of its two paths, and OpenBLAS told which kernels to use. For certified_cpu.py."""

from __future__ import annotations

import os
from typing import Any

CORETYPE = "KNNSCOPE_BENCHMARK_CORETYPE"
"""Names the kernels. OpenBLAS reads OPENBLAS_CORETYPE when it is loaded, but the thread budget of a child process clears that."""
if os.environ.get(CORETYPE):
    os.environ["OPENBLAS_CORETYPE"] = os.environ[CORETYPE]

from knnscope.search.engines import faiss  # noqa: E402 - loads OpenBLAS


class Direct(faiss.FaissEngine):
    """Distances one by one, however many queries there are."""

    def build(self, vectors: Any, metric: str) -> Any:
        """See above."""
        faiss.faiss.cvar.distance_compute_blas_threshold = 1 << 30
        return super().build(vectors, metric)


class Blas(faiss.FaissEngine):
    """Matrix products, however few queries there are."""

    def build(self, vectors: Any, metric: str) -> Any:
        """See above."""
        faiss.faiss.cvar.distance_compute_blas_threshold = 1
        return super().build(vectors, metric)
