"""Shards on a Dask cluster of this machine, as an engine: what splitting and sending costs is measured, and its answers are judged, as all others' are."""

from __future__ import annotations

import distributed  # noqa: F401 - that it is here is what the catalogue asks

from knnscope.certified.engine import CertifiedEngine
from knnscope.distributed import cluster
from knnscope.distributed.dask import DaskIndex
from knnscope.records import Neighbors
from knnscope.search.engine import Array


class DaskEngine(CertifiedEngine):
    """``certified`` on as many worker processes as the thread budget gives, up to four."""

    def build(self, vectors: Array, metric: str) -> ShardedIndex:  # type: ignore[override]
        """Start the cluster, where this process has none yet, and send each worker its rows."""
        return ShardedIndex(DaskIndex(cluster.client(), vectors, metric))


class ShardedIndex:
    """A ``DaskIndex``."""

    def __init__(self, index: DaskIndex) -> None:
        self._index = index
        self.how = f"{len(index.shards)} shards on Dask workers of this machine, each searched as certified does; answers merged by the definition"

    def search(self, queries: Array, k: int) -> Neighbors:
        """A task a shard."""
        return self._index.search(queries, k)
