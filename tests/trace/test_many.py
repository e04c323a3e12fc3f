"""Ids without end: the time that a trace takes grows as its rows do, whatever its domains, threads, streams, names and GPUs are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knnscope.trace import model, reader
from knnscope.trace.explain import explain
from knnscope.trace.nesting import outside
from knnscope.trace.phases import phases
from tests.trace import write
from tests.trace.write import LAUNCH, MS, US


def domains(trace: write.Trace, count: int) -> None:
    for i in range(count):
        trace.range("a", i * US, i * US + 500, domain=i + 1)


def named_domains(trace: write.Trace, count: int) -> None:
    for i in range(count):
        trace.range("mine", 0, None, 75, domain=i + 1)
        trace.range("a", i * US, i * US + 500, domain=i + 1)


def threads(trace: write.Trace, count: int) -> None:
    """Of each a range, and a call whose inner call launches."""
    for i in range(count):
        thread = 100 << 24 | i
        trace.range("a", i * US, i * US + 900, thread=thread)
        trace.call("cudaGraphLaunch_v10000", i * US, i * US + 500, thread)
        trace.kernel("k", i * US + 500, i * US + 900, trace.call(LAUNCH, i * US + 100, i * US + 400, thread))


def streams(trace: write.Trace, count: int) -> None:
    for i in range(count):
        trace.kernel("k", i * US + 500, i * US + 900, trace.call(LAUNCH, i * US, i * US + 400), stream=i)


def names(trace: write.Trace, count: int) -> None:
    for i in range(count):
        trace.kernel(f"k{i}", i * US + 500, i * US + 900, trace.call(f"c{i}", i * US, i * US + 400))


def made(path: Path, kind: Callable[[write.Trace, int], None], count: int) -> Path:
    trace = write.Trace(path)
    kind(trace, count)
    return trace.done()


def seconds(path: Path) -> float:
    """CPU time of reading it, the less of two times."""

    def once() -> float:
        began = time.process_time()
        reader.read(path)
        return time.process_time() - began

    return min(once(), once())


@pytest.mark.parametrize("kind", [domains, named_domains, streams, names])
def test_eight_times_the_ids_take_about_eight_times_the_time(
    tmp_path: Path, kind: Callable[[write.Trace, int], None]
) -> None:
    """Going through all rows for each id takes twenty-five times and more."""
    few, many = (made(tmp_path / f"{count}.sqlite", kind, count) for count in (4_000, 32_000))
    assert seconds(many) < 18 * max(seconds(few), 0.02)


def test_work_is_launched_by_the_outer_call_of_its_own_thread(tmp_path: Path) -> None:
    (phase,) = phases(reader.read(made(tmp_path / "a.sqlite", threads, 50)))
    every = phase.launched(phase.kernels, np.ones(len(phase.kernels), dtype=bool))
    assert len(every) == phase.times > 40
    assert every.all()
    for one in (0, 7, len(every) - 1):
        mask = np.zeros(len(phase.kernels), dtype=bool)
        mask[one] = True
        assert np.flatnonzero(phase.launched(phase.kernels, mask)).tolist() == [one]


def test_of_very_many_gpus_those_with_most_work_are_told_of(tmp_path: Path) -> None:
    trace = write.Trace(tmp_path / "a.sqlite")
    for i in range(model.GPUS + 6):
        trace.kernel("k", i * MS, i * MS + (1 + i) * US, trace.call(LAUNCH, i * MS - US, i * MS), device=i)
    found = reader.read(trace.done())
    assert found.used == tuple(range(model.GPUS + 5, 5, -1))
    assert f"{model.GPUS + 6} GPUs did something: the {model.GPUS} with most work are told of" in found.notes
    told = explain(found)
    assert {bound.gpu for bound in told.bounds} == set(found.used)


def test_ranges_of_domains_are_told_apart_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(0, 30))
        thread = rng.integers(-3, 4, count) << 24 | rng.integers(0, 3, count)
        domain = rng.choice([0, 0, 1, 2, -1, 2**62, -(2**63)], count)
        pairs = [
            (int(p), int(d))
            for p, d in zip(rng.integers(-3, 4, 5) & 0xFFFFFF, rng.choice([1, 2, -1, 2**62], 5), strict=True)
        ]
        programs = tuple(pairs[: rng.integers(0, 6)])
        expected = [
            d != 0 and ((t >> 24) & 0xFFFFFF, d) not in programs
            for t, d in zip(thread.tolist(), domain.tolist(), strict=True)
        ]
        assert outside(thread, domain, programs).tolist() == expected
