"""Clusters of real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.distributed.cluster import local_cluster

dask = pytest.importorskip("dask")
# A worker is forked from a process that has loaded Dask, as in Dask's own tests: to load it is most of what starting one takes. The command
# starts its workers as ever (test_lost.py).
dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="package")
def client() -> Iterator[Any]:
    """Two workers, for all tests of this folder that leave them as they were."""
    with local_cluster(2, 1) as cluster, distributed.Client(cluster, timeout=10) as made:
        yield made


@pytest.fixture
def own_client() -> Iterator[Callable[[int], Any]]:
    """A cluster of so many workers for this test alone."""
    with ExitStack() as started:

        def start(workers: int) -> Any:
            cluster = started.enter_context(local_cluster(workers, 1))
            return started.enter_context(distributed.Client(cluster, timeout=10))

        yield start


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def file_of(rows: Any, folder: Path) -> str:
    """Rows as a file that is mapped."""
    np.save(folder / "rows.npy", rows)
    return str(folder / "rows.npy")
