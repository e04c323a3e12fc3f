"""The measuring of the CPU: every byte is read, caches are flushed, figures are plausible."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope import environment
from knnscope.ceilings import cpu

MASK = (1 << 64) - 1


@pytest.fixture
def crew() -> Iterator[cpu.Crew]:
    with ThreadPoolExecutor(3) as pool:
        yield cpu.Crew(pool, 3)


def test_every_byte_is_read(crew: cpu.Crew) -> None:
    arena = cpu.words(3 << 20, 3)
    cpu.fill(arena, crew)
    for block in (1, 4096, 10_000, arena.shape[1]):
        for row in arena:
            hot, cold = cpu.hot_blocks(row, block, 1 << 21), cpu.cold_blocks(row, block, 1 << 21)
            for read, own in zip(cpu.READS, (lambda part: sum(part.tolist()) & MASK, max), strict=True):
                assert set(read(hot, axis=1).tolist()) == {int(own(row[:block]))}
                assert read(cold, axis=1).tolist() == [int(own(part)) for part in cold]


@given(st.integers(0, 999), st.integers(0, 7))
def test_no_byte_can_change_unseen(word: int, byte: int) -> None:
    row = np.zeros(1000, dtype=np.uint64)
    row.view(np.uint8)[8 * word + byte] = 1
    for blocks in (cpu.hot_blocks(row, 1000, 16_000), cpu.cold_blocks(row, 250, 8000)):
        assert all(read(blocks, axis=1).any() for read in cpu.READS)


def test_cold_blocks_are_read_once_and_hot_ones_again() -> None:
    row = np.arange(1000, dtype=np.uint64)
    assert cpu.cold_blocks(row, 300, 1 << 30).ravel().tolist() == list(range(900))
    assert cpu.cold_blocks(row, 300, 4800).shape == (2, 300)
    hot = cpu.hot_blocks(row, 300, 24_000)
    assert (hot.shape, hot.strides) == ((10, 300), (0, 8))


def test_the_flush_writes_over_twice_the_last_cache(crew: cpu.Crew) -> None:
    assert cpu.flush_bytes({"L1d": 48 << 10, "L3": 30 << 20}) == 60 << 20
    assert cpu.flush_bytes({}) == 64 << 20
    assert cpu.flush_bytes({"L3": 480 << 20}) == 512 << 20
    buffer = cpu.words(1 << 20, 3)
    for value in (1, 2):
        cpu.flush_caches(buffer, value, crew)
        assert (buffer == value).all()


def test_a_crew_starts_together_and_hands_on_errors(crew: cpu.Crew) -> None:
    done: list[int] = []
    assert crew.seconds(done.append) > 0
    assert sorted(done) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        crew.seconds(lambda member: 1 // (member - 1))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOT_PASS", "COLD_PASS", "FLUSH_AT_MOST"):
        monkeypatch.setattr(cpu, name, 32 << 20)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("quick")
def test_figures_are_what_the_clock_makes_them(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond passes whenever somebody looks: a thread looks before its work and after it."""
    looks = count()
    monkeypatch.setattr(cpu, "time", SimpleNamespace(perf_counter_ns=lambda: 1_000_000 * next(looks)))
    found = cpu.measure(threads, sizes=(1 << 16, 1 << 20), product_seconds=0.001)
    assert [rate.bytes for rate in found.read] == [1 << 16, 1 << 20]
    took = 0.001 * (2 * threads - 1)  # from the first look to the last
    for rate in found.read:
        assert rate.cold == rate.hot == pytest.approx(threads * (32 << 20) / took)
    assert found.copy == pytest.approx(2 * threads * (32 << 20) / took)
    assert found.products == {name: pytest.approx(2 * 1024**3 / 0.001) for name in ("float64", "float32")}
    assert (found.device, found.threads) == ("cpu", threads)


@pytest.mark.usefixtures("quick")
def test_little_memory_bounds_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "memory", lambda: {"total": None, "available": 1 << 40, "limit": 8 << 20})
    found = cpu.measure(1, sizes=(1 << 16, 1 << 20, 1 << 21), product_seconds=0.001)
    assert [rate.bytes for rate in found.read] == [1 << 16, 1 << 20]
