"""Measures what the current GPU can do, through CuPy; reached by ``errors.require`` alone."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import cupy
import numpy as np

from knnscope.ceilings.kernels import SOURCE, THREADS, TILE
from knnscope.ceilings.products import LARGEST, best_rate
from knnscope.ceilings.record import Ceilings, ReadRate, Transfer

SIZES = tuple(1 << power for power in range(20, 33))
"""1 MiB to 4 GiB."""

BLOCKS = (8, 16, 32)
"""Blocks of threads a multiprocessor that are tried: half of what it holds, all, and twice that."""

REPEATS = 3
LAUNCHES = 8
"""Launches in one timing, of a few microseconds each at small sizes."""

QUEUEING_CYCLES = 500_000
"""About 0.25 ms: more than the host needs to queue what is timed."""

WARM_UP_S = 0.5
"""An idle GPU takes its time to raise its clocks."""

TRANSFER = 256 << 20


def measure(sizes: Sequence[int] = SIZES, product_seconds: float = 0.05) -> Ceilings:
    """The current GPU's ceilings; about 15 seconds.

    Args:
        sizes: bytes to read, ascending, multiples of 8 KiB; those above 1/4 of the free memory are left out.
        product_seconds: what one matrix product should take.
    """
    facts = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    free, _ = cupy.cuda.runtime.memGetInfo()
    sizes = [size for size in sizes if size <= free // 4] or sizes[:1]
    gpu = Gpu(int(facts["multiProcessorCount"]), int(facts["l2CacheSize"]))
    read, copy = _memory(gpu, sizes)
    up, down = _transfers(min(TRANSFER, sizes[-1]))
    return Ceilings(
        device="cuda",
        device_name=facts["name"].decode(),
        threads=None,
        read=read,
        copy=copy,
        products=_products(gpu, product_seconds),
        host_to_device=up,
        device_to_host=down,
    )


class Gpu:
    """The kernels, and time by the GPU's own events."""

    def __init__(self, multiprocessors: int, l2: int) -> None:
        module = cupy.RawModule(code=SOURCE)
        self._sum = module.get_function("sum_tiles")
        self._wait = module.get_function("wait_cycles")
        self._multiprocessors = multiprocessors
        self.total = cupy.zeros(1, dtype=cupy.uint64)
        self._flush = cupy.empty(max(1, 2 * l2 // TILE) * TILE // 8, dtype=cupy.uint64)

    def read(self, data: Any, blocks: int, keep: bool = False) -> None:
        """Queue one reading of the whole tiles of ``data``; kept, the sum of its words is added to ``total``."""
        tiles = data.nbytes // TILE
        grid = min(tiles, self._multiprocessors * blocks)
        self._sum((grid,), (THREADS,), (data, np.uint64(tiles), np.int32(keep), self.total))

    def flush(self) -> None:
        """Queue writing over twice the L2 cache, and reading it back: no line is left to be written while others are timed."""
        self._flush.fill(1)
        self.read(self._flush, BLOCKS[-1])

    def seconds(self, work: Callable[[], object]) -> float:
        """Time from the start to the end of what ``work`` queues."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        self._wait((1,), (1,), (np.int64(QUEUEING_CYCLES),))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) / 1e3


def random_words(nbytes: int) -> Any:
    """Random uint64 on the GPU: constant data draws less power and reads too fast."""
    block = cupy.asarray(np.random.default_rng(0).integers(0, 1 << 64, 1 << 20, dtype=np.uint64))
    data = cupy.empty(nbytes // 8, dtype=cupy.uint64)
    for start in range(0, data.size, block.size):
        part = data[start : start + block.size]
        part[:] = block[: part.size]
    return data


def _memory(gpu: Gpu, sizes: Sequence[int]) -> tuple[tuple[ReadRate, ...], float]:
    """Reading by size, and copying the half of the largest size to the other half."""
    data = random_words(sizes[-1])
    begin = time.perf_counter()
    while time.perf_counter() - begin < WARM_UP_S:
        gpu.seconds(lambda: gpu.read(data, BLOCKS[0]))
    half = data.size // 2
    seconds = min(gpu.seconds(lambda: cupy.copyto(data[half : 2 * half], data[:half])) for _ in range(5))
    return tuple(_read_rate(gpu, data, size) for size in sizes), 2 * 8 * half / seconds


def _read_rate(gpu: Gpu, data: Any, nbytes: int) -> ReadRate:
    """By a kernel that reads once, launched some times: on the same bytes (hot), on others each time after a flush (cold)."""
    parts = [data[i * nbytes // 8 : (i + 1) * nbytes // 8] for i in range(min(LAUNCHES, data.nbytes // nbytes))]

    def rate(blocks: int, chosen: list[Any]) -> float:
        def work() -> None:
            for part in chosen:
                gpu.read(part, blocks)

        return nbytes * len(chosen) / gpu.seconds(work)

    best_cold = 0.0
    for blocks in BLOCKS * REPEATS:
        gpu.flush()
        best_cold = max(best_cold, rate(blocks, parts))
    best_hot = max(rate(blocks, [parts[0]] * LAUNCHES) for blocks in BLOCKS * REPEATS)
    return ReadRate(nbytes, best_hot, best_cold)


def _transfers(nbytes: int) -> tuple[Transfer, Transfer]:
    """Host to device, and back; each waits for its end, so that the clock on the wall is right."""
    runtime = cupy.cuda.runtime
    device = cupy.empty(nbytes, dtype=cupy.uint8)
    pinned = np.frombuffer(cupy.cuda.alloc_pinned_memory(nbytes), dtype=np.uint8, count=nbytes)
    pageable = np.empty(nbytes, dtype=np.uint8)

    def rate(target: int, source: int, direction: int) -> float:
        def seconds() -> float:
            start = time.perf_counter_ns()
            runtime.memcpy(target, source, nbytes, direction)
            runtime.deviceSynchronize()
            return (time.perf_counter_ns() - start) / 1e9

        return nbytes / min(seconds() for _ in range(5))

    rates = {}
    for name, host in (("pageable", pageable), ("pinned", pinned)):
        host[:] = 1
        rates["up", name] = rate(device.data.ptr, host.ctypes.data, runtime.memcpyHostToDevice)
        rates["down", name] = rate(host.ctypes.data, device.data.ptr, runtime.memcpyDeviceToHost)
    up, down = (Transfer(rates[way, "pageable"], rates[way, "pinned"]) for way in ("up", "down"))
    return up, down


def _products(gpu: Gpu, seconds: float) -> dict[str, float]:
    values = cupy.asarray(np.random.default_rng(0).standard_normal((LARGEST, LARGEST), dtype=np.float32))

    def prepare_cupy(name: str, side: int) -> Callable[[], float]:
        left = values[:side, :side].astype(name)
        product = cupy.empty_like(left)
        return lambda: gpu.seconds(lambda: cupy.matmul(left, left, out=product))

    found = {
        name: best_rate(lambda side: prepare_cupy(name, side), seconds)  # noqa: B023 - called before the next name
        for name in ("float64", "float32", "float16")
    }
    return found | _torch_products(gpu, values, seconds)


def _torch_products(gpu: Gpu, values: Any, seconds: float) -> dict[str, float]:
    """Types that CuPy does not multiply; without PyTorch, or where it fails, they are left out."""
    found: dict[str, float] = {}
    if importlib.util.find_spec("torch") is None:
        return found
    with contextlib.suppress(Exception):  # a PyTorch without CUDA, or one that does not load
        torch = importlib.import_module("torch")
        whole = torch.as_tensor(values, device="cuda")

        def prepare(name: str, side: int) -> Callable[[], float]:
            left = whole[:side, :side].contiguous()
            if name == "int8":
                left = (left * 32).clamp(-127, 127).to(torch.int8)
                return lambda: gpu.seconds(lambda: torch._int_mm(left, left.t()))
            left = left.to(torch.bfloat16) if name == "bfloat16" else left
            product = torch.empty_like(left)
            return lambda: gpu.seconds(lambda: torch.matmul(left, left, out=product))

        matmul = torch.backends.cuda.matmul
        allowed = matmul.allow_tf32
        matmul.allow_tf32 = True
        try:
            for name in ("tf32", "bfloat16", "int8"):
                with contextlib.suppress(Exception):  # a GPU or a build that lacks the type
                    found[name] = best_rate(lambda side: prepare(name, side), seconds)  # noqa: B023
        finally:
            matmul.allow_tf32 = allowed
    return found
