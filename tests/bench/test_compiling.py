"""Compiling is the installation's, not the engine's: it is counted apart from the build and the first call."""

from __future__ import annotations

import time

import numpy as np
import pytest
from msgspec.structs import replace

from knnscope.analysis import jsonl
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.bench import result
from knnscope.bench.runner import Measured
from knnscope.bench.timing import HostClock, Sample, apart, warm_up
from knnscope.bench.worker import Worker
from knnscope.certified.cpu.jit import compiled
from knnscope.compiling import SPENT, Spent
from knnscope.records import Capabilities, Neighbors
from knnscope.report.comparison import memory, notes, tables
from knnscope.search.grading import Grade
from knnscope.search.rounding import DEFINITION
from knnscope.units import duration
from tests.analysis.test_verdict import rows as made_up
from tests.bench.small import ANSWERS, FACTS, QUERIES, ROWS, case

S = 1_000_000_000


class Stopwatch:
    """Every call takes five seconds."""

    def start(self) -> None:
        pass

    def stop(self) -> Sample:
        return Sample(5 * S, 6 * S, 7)


def compiles() -> None:
    """For 4.7 seconds, it says."""
    SPENT.wall_ns += 4_700_000_000
    SPENT.cpu_ns += 4_600_000_000


def test_a_call_that_compiles_is_two_figures() -> None:
    assert apart(compiles, Stopwatch())[::2] == (Sample(300_000_000, 1_400_000_000, 7), 4_700_000_000)
    assert apart(lambda: "found", Stopwatch()) == (Sample(5 * S, 6 * S, 7), "found", 0)
    warmed = warm_up(compiles, Stopwatch())
    assert (warmed.first.wall_ns, warmed.compile_ns) == (300_000_000, 4_700_000_000)


def test_what_lies_within_another_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0, 1, 11, 20])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(now))
    monkeypatch.setattr(time, "thread_time_ns", lambda: 3)
    spent = Spent()
    with spent.counted():
        for _ in range(1):
            with spent.counted():
                pass
            next(now)
    assert (spent.wall_ns, spent.cpu_ns) == (20, 0)


def doubled(x: int) -> int:
    return x * 2


def tripled(x: int) -> int:
    return x * 3


LONG = 50_000_000
"""Nanoseconds: what compiling takes at least."""


def long() -> None:
    """Compiling that takes so long."""
    with SPENT.counted():
        time.sleep(LONG / S)


class Compiling:
    """An engine whose build and first search each compile a function of this project's, and more."""

    capabilities = Capabilities(metrics=frozenset({"l2"}), dtypes=frozenset({"float32"}), exact=True)

    def __init__(self) -> None:
        self.is_compiled = False
        self.build_code, self.search_code = compiled()(doubled), compiled()(tripled)

    def formula(self, *_: object) -> object:
        return DEFINITION

    def build(self, *_: object) -> Compiling:
        assert self.build_code(2) == 4
        long()
        return self

    def search(self, queries: np.ndarray, k: int) -> Neighbors:
        assert self.search_code(2) == 6
        if not self.is_compiled:
            long()
        self.is_compiled = True
        return Neighbors(ANSWERS.ids[: len(queries), :k], ANSWERS.distances[: len(queries), :k])


def test_it_is_in_the_record_and_not_in_the_figures() -> None:
    """Both together are no longer than the whole, so none is in the other."""
    worker = Worker(Compiling(), ROWS, QUERIES, "l2", HostClock)
    times, spent = [time.perf_counter_ns()], [SPENT.wall_ns]
    built = worker.build()
    times.append(time.perf_counter_ns()), spent.append(SPENT.wall_ns)
    warmed = worker.warm(case("own"))
    times.append(time.perf_counter_ns()), spent.append(SPENT.wall_ns)
    measured = Measured(case("own"), built=built, warmed=warmed, hot=[[Sample(5, 5)]], grade=Grade("exact", 3, 0, 0))
    rows = result.rows_of(measured, FACTS, result.About("cpu"))
    first, hot = (jsonl.check(row) for row in rows)
    assert LONG <= first.build_compile_ns == spent[1] - spent[0]
    assert LONG <= first.compile_ns <= spent[2] - spent[1]
    assert hot.compile_ns is None
    assert first.build_ns + first.build_compile_ns <= times[1] - times[0]
    assert first.median_ns + first.compile_ns <= times[2] - times[1]


def test_it_is_said() -> None:
    rows = made_up("own", 100) + made_up("other", 100)
    for i, row in enumerate(rows):
        if (row.engine, row.cache) == ("own", "first"):
            rows[i] = replace(row, build_compile_ns=700_000_000, compile_ns=4 * S)
    said = [line for line in notes(rows) if "compiled" in line]
    assert said == [
        "own compiled its code, or read it compiled, in 4.70 s: in the times of build and first call, and in no other"
    ]


def test_the_columns_of_first_call_and_build_have_the_whole_time_and_what_was_compiling_behind_it() -> None:
    """Of an engine whose compiling is known, as of all others, whose is not."""
    rows = [replace(row, build_ns=300_000_000) for row in made_up("own", 100) + made_up("other", 100)]
    for i, row in enumerate(rows):
        if row.engine == "own":
            rows[i] = replace(row, build_compile_ns=700_000_000, compile_ns=4 * S if row.cache == "first" else None)
    first = {row.engine: row.median_ns for row in rows if row.cache == "first"}
    (table,) = tables(ComparisonRun(tuple(rows), {}, CompareFacts()))
    cells = {line[0]: dict(zip(table.head, line, strict=True))["first"] for line in table.lines}
    assert cells == {"own": f"{duration(first['own'] + 4 * S)} (4.00 s compiling)", "other": duration(first["other"])}
    built = memory(rows)
    assert built is not None
    assert {line[0]: line[1] for line in built.lines} == {"own": "1.00 s (700 ms compiling)", "other": "300 ms"}
