"""Shards on the GPUs of Dask's workers answer as one index does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knnscope.certified.index import ExactIndex
from knnscope.distributed import DaskIndex, DaskOptions
from knnscope.distributed.cluster import local_cluster
from tests.gpu.answers import same

pytest.importorskip("cupy")
distributed = pytest.importorskip("distributed")


@pytest.mark.parametrize("memory", ["fast", "1KB"])
def test_two_workers_have_a_gpu_each_or_share_one(memory: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows, queries = (random.standard_normal((count, 64), dtype=np.float32) for count in (30_000, 50))
    rows[10_000::97] = rows[0]
    np.save(tmp_path / "rows.npy", rows)
    whole = ExactIndex(rows, device="cpu")
    with local_cluster(2, 1) as cluster, distributed.Client(cluster, timeout=10) as client:
        for given in (rows, str(tmp_path / "rows.npy")):
            if memory != "fast" and given is not rows:
                continue  # mapped rows are not pinned everywhere
            with DaskIndex(client, given, options=DaskOptions(shards=3, device="cuda", memory=memory)) as index:
                assert ("host memory" in index.levels) == (memory != "fast")
                for k in (1, 10, 600):
                    same(index.search(queries, k), whole.search(queries, k))
