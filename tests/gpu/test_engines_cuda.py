"""The engines that compute on a GPU: the contract of all engines, and arrays that lie in GPU memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from knnscope.search import catalog, device
from knnscope.search import engine as engines
from tests.contracts.suite import EngineContract

DECLARED = ("certified-gpu", "cupy", "cuvs", "faiss-gpu", "faiss-gpu-cuvs", "torch-cuda", "flashlib", "certex")


@pytest.mark.parametrize("name", DECLARED)
def test_a_declared_engine_is_here(name: str) -> None:
    assert catalog.problem(name) is None


def test_every_gpu_engine_is_declared() -> None:
    assert set(DECLARED) == {name for name, entry in catalog.ENGINES.items() if entry.device == "cuda"}


class TestGpuEngines(EngineContract):
    ENGINES = DECLARED


class TestTorchOnTheCpu(EngineContract):
    ENGINES = ("torch",)


class OnlyDlpack:
    """An array that offers DLPack and nothing else, as JAX's do."""

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype, self.ndim, self._array = array.shape, array.dtype, array.ndim, array

    def __len__(self) -> int:
        return int(self.shape[0])

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def arrays_on_the_gpu(values: np.ndarray) -> dict[str, Any]:
    import cupy
    import torch

    on_gpu = cupy.asarray(values)
    return {"cupy": on_gpu, "torch": torch.from_numpy(values.copy()).cuda(), "dlpack": OnlyDlpack(on_gpu)}


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("batch", [1, 37])
def test_arrays_in_gpu_memory_give_the_same_answer_there(name: str, metric: str, batch: int) -> None:
    engine = catalog.load(name)
    if metric not in engine.capabilities.metrics:
        return
    random = np.random.default_rng(1)
    rows, queries = (random.standard_normal((n, 48)).astype(np.float32) for n in (3000, batch))
    index = engines.build(engine, rows, metric, name)
    expected = index.search(queries, 10)
    for kind, asked in arrays_on_the_gpu(queries).items():
        found = index.search(asked, 10)
        assert device.is_device(found.ids), kind
        assert device.is_device(found.distances), kind
        to_host = device.library().to_host
        np.testing.assert_array_equal(to_host(found.ids), expected.ids, err_msg=kind)
        np.testing.assert_allclose(to_host(found.distances), expected.distances, rtol=1e-4, atol=1e-4, err_msg=kind)


@pytest.mark.parametrize("name", DECLARED)
def test_a_larger_search_is_right(name: str) -> None:
    from tests.contracts.suite import check

    random = np.random.default_rng(2)
    rows, queries = (random.standard_normal((n, 384)).astype(np.float32) for n in (20_011, 130))
    for k in (1, 10, 100):
        check(name, "l2", rows, queries, k)


def test_timing_waits_for_the_device() -> None:
    """A call that returns at once and computes for long is timed until it has ended."""
    import cupy

    from knnscope.bench.timing import CudaClock, HostClock, timed

    clock = CudaClock(device.library())
    a = cupy.random.default_rng(0).standard_normal((6000, 6000))

    def work() -> Any:
        return a @ a @ a

    timed(work, clock)
    waited, _ = timed(work, clock)
    device.library().synchronize()
    launched, _ = timed(work, HostClock())
    device.library().synchronize()
    assert waited.event_ns is not None
    assert waited.wall_ns > 3 * launched.wall_ns
    assert 0.8 * waited.wall_ns < waited.event_ns < 1.1 * waited.wall_ns
