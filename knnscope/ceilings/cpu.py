"""Measures what the CPU can do with a budget of threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import environment
from knnscope.ceilings.products import best_rate
from knnscope.ceilings.record import Ceilings, ReadRate

Words = npt.NDArray[np.uint64]

SIZES = tuple(1 << power for power in range(16, 31))
"""64 KiB to 1 GiB."""

READS: tuple[Callable[..., Any], ...] = (np.add.reduce, np.maximum.reduce)
"""What reads: both look at every byte, the sum cannot be right otherwise. The faster one counts.

GB/s of one thread on a Xeon with AMX, in a 1 MiB block (L2), 8 MiB (L3) and 512 MiB (memory): maximum 110, 30, 15.7; sum of
uint64 86, 30, 17.9; bitwise or, and, xor 80, 30, 17.7; sum of float32 26, 22, 15.5; np.dot of one array 63, 29, 17.2, of two
halves 92, 29, 16.6; matrix times vector 60 to 90, 29, 15 to 17.3; argmax of bool 71, 28, 12. Best of 12 loops written in C
with AVX-512 (1 to 8 streams, with and without prefetch): 113, 32, 18.2. A call for each slice of 256 KiB loses 6% (one
thread) to 35% (two), for each of 64 KiB half: so the loop over blocks is NumPy's own.
"""

REPEATS = 2
HOT_PASS = 512 << 20
COLD_PASS = 128 << 20
"""Bytes a thread reads in one timed pass, of a few milliseconds: starting the threads takes up to 0.1 ms."""

FLUSH_AT_MOST = 512 << 20


def measure(threads: int, sizes: Sequence[int] = SIZES, product_seconds: float = 0.15) -> Ceilings:
    """The CPU's ceilings; about 10 seconds.

    Args:
        threads: the thread budget; NumPy's own must have been set by the environment of this process.
        sizes: bytes to read, ascending, shared among the threads; those above 1/8 of the available memory are left out.
        product_seconds: what one matrix product should take.
    """
    facts = environment.cpu()
    memory = environment.memory()
    available = min(filter(None, (memory["available"], memory["limit"])), default=8 << 30) // 8
    sizes = [size for size in sizes if size <= available] or sizes[:1]
    arena = words(min(available, max(sizes[-1], 2 * COLD_PASS * threads)), threads)
    flush = words(min(available, flush_bytes(facts["caches"])), threads)
    with ThreadPoolExecutor(threads) as pool:
        crew = Crew(pool, threads)
        fill(arena, crew)
        return Ceilings(
            device="cpu",
            device_name=facts["model"] or "unknown",
            threads=threads,
            read=tuple(_read_rate(size, arena, flush, crew) for size in sizes),
            copy=_copy_rate(arena, crew),
            products={name: best_rate(_multiplier(name), product_seconds) for name in ("float64", "float32")},
        )


class Crew:
    """Threads that start a piece of work together; NumPy lets go of the interpreter's lock while it works."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool = pool
        self._gate = Barrier(threads)
        self.threads = threads

    def seconds(self, work: Callable[[int], object]) -> float:
        """Time of ``work(0)`` to ``work(threads - 1)`` at once, from the first start to the last end."""

        def timed(member: int) -> tuple[int, int]:
            self._gate.wait()
            start = time.perf_counter_ns()
            work(member)
            return start, time.perf_counter_ns()

        spans = list(self._pool.map(timed, range(self.threads)))
        return (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9


def words(nbytes: int, threads: int) -> Words:
    """Memory for so many bytes, not yet touched, a row for each thread."""
    return np.empty((threads, max(1, nbytes // 8 // threads)), dtype=np.uint64)


def fill(arena: Words, crew: Crew) -> None:
    """Random data; each thread touches its own row first, which places it in that thread's memory."""
    block = np.frombuffer(os.urandom(1 << 20), dtype=np.uint64)

    def tile(member: int) -> None:
        row = arena[member]
        for start in range(0, len(row), len(block)):
            row[start : start + len(block)] = block[: len(row) - start]

    crew.seconds(tile)


def flush_bytes(caches: dict[str, int]) -> int:
    """Twice the last-level cache, 64 MiB where none is known; bounded, since a virtual machine shows its host's cache."""
    return min(2 * max(caches.values(), default=32 << 20), FLUSH_AT_MOST)


def flush_caches(flush: Words, value: int, crew: Crew) -> None:
    """Write over the whole buffer; reading it back as well, for clean lines, changed nothing."""
    crew.seconds(lambda i: flush[i].fill(np.uint64(value)))


def hot_blocks(row: Words, block: int, nbytes: int) -> Words:
    """The first ``block`` words of the row as (times, block), so often that ``nbytes`` are read."""
    return np.broadcast_to(row[:block], (max(1, nbytes // (8 * block)), block))


def cold_blocks(row: Words, block: int, nbytes: int) -> Words:
    """Successive blocks of the row, (times, block), ``nbytes`` of them or all there are; none twice."""
    times = max(1, min(nbytes, row.nbytes) // (8 * block))
    return row[: times * block].reshape(times, block)


def _read_rate(nbytes: int, arena: Words, flush: Words, crew: Crew) -> ReadRate:
    block = max(1, min(nbytes // 8 // crew.threads, arena.shape[1]))
    hot = [hot_blocks(row, block, HOT_PASS) for row in arena]
    cold = [cold_blocks(row, block, COLD_PASS) for row in arena]

    def rate(rows: list[Words], read: Callable[..., Any]) -> float:
        return 8 * sum(row.size for row in rows) / crew.seconds(lambda i: read(rows[i], axis=1))

    best_cold = 0.0
    for repeat, read in enumerate(READS * REPEATS):
        flush_caches(flush, repeat, crew)
        best_cold = max(best_cold, rate(cold, read))
    best_hot = max(rate(hot, read) for read in READS * REPEATS)
    return ReadRate(8 * block * crew.threads, best_hot, best_cold)


def _copy_rate(arena: Words, crew: Crew) -> float:
    half: int = arena.shape[1] // 2
    seconds = min(crew.seconds(lambda i: np.copyto(arena[i, half : 2 * half], arena[i, :half])) for _ in range(4))
    return 2 * 8 * half * crew.threads / seconds


def _multiplier(name: str) -> Callable[[int], Callable[[], float]]:
    def prepare(side: int) -> Callable[[], float]:
        random = np.random.default_rng(0)
        left, right = (random.random((side, side)).astype(name) for _ in range(2))
        product = np.empty_like(left)

        def multiply() -> float:
            start = time.perf_counter_ns()
            np.matmul(left, right, out=product)
            return (time.perf_counter_ns() - start) / 1e9

        return multiply

    return prepare
