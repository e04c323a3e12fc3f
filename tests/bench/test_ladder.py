"""The climb: figures, ratios, scaling, grades, and rungs that fail as rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.analysis import jsonl
from knnscope.bench import ladder as climbing
from knnscope.bench.ladder import Climb, climb
from knnscope.errors import UnsupportedError
from knnscope.search import catalog, device, ladder
from knnscope.search.ladder.rung import Rung
from tests.bench.test_result import CEILINGS

FIRST_CLIMB = """
import json, os
import numpy as np
from knnscope.bench.ladder import Climb, EngineRung, climb
paths = []
def search(self, query, k):
    found = self.index.search(query, k)
    paths.append(list(found.certificate.path))
    return found.ids
EngineRung.search = search
rows = np.random.default_rng(0).standard_normal((900, 20)).astype(np.float32)
(row,) = climb(["certified"], Climb("drawn", rows, rows[:4], 3, "cpu"))
print(json.dumps([row.status, row.compile_ns, paths, os.environ["KNNSCOPE_COMPILE"]]))
"""


def plan(count: int = 300, dim: int = 16, k: int = 3, **options: Any) -> Climb:
    random = np.random.default_rng(count)
    rows, queries = (random.standard_normal((n, dim)).astype(np.float32) for n in (count, 4))
    return Climb("drawn", rows, queries, k, **{"where": "cpu", "repeat": 5, **options})


def rows_of(names: list[str], p: Climb) -> dict[str, dict[str, Any]]:
    return {row.rung: jsonl.check(row) for row in climb(names, p)}


def planted(monkeypatch: pytest.MonkeyPatch, search: Any, **more: Any) -> None:
    cls = type("Planted", (Rung,), {"changed": "planted", "search": search, "moved": lambda self, k: 1, **more})
    monkeypatch.setattr(ladder, "rung_class", lambda name: cls)


def test_figures_of_a_climb() -> None:
    found = rows_of(
        ["numpy-loop", "argsort", "faiss"],
        plan(ceilings={"cpu": CEILINGS["cpu"]} if isinstance(CEILINGS, dict) else {"cpu": CEILINGS}),
    )
    first, second, engine = found.values()
    for row in found.values():
        assert row.status == "ok"
        assert row.grade in ("exact", "float32")
        assert row.judged == 4
        assert len(row.samples_ns) == 5
        assert row.wall_ns == sorted(row.samples_ns)[2]
        assert row.event_ns is None
        assert len(row.ids) == 3
        assert row.floor_ns > 0
        assert (row.kernels, row.copies, row.counted_by) == (0, 0, "code")
    assert first.ratio_below is None
    assert second.ratio_below == second.ratio_first == round(first.wall_ns / second.wall_ns, 4)
    assert engine.ratio_first == round(first.wall_ns / engine.wall_ns, 4)
    assert first.ids == second.ids == engine.ids
    assert first.bytes_moved == 6 * 300 * 16 * 4
    assert engine.bytes_moved is None


def test_a_loop_over_fewer_rows_is_scaled_and_marked_and_judged_by_what_it_saw() -> None:
    found = rows_of(["numpy-loop", "vectorized"], plan(loop_rows=30))
    loop, whole = found.values()
    assert (loop.scaled, loop.visited, loop.rows) == (True, 30, 300)
    assert loop.wall_ns == pytest.approx(10 * sorted(loop.samples_ns)[2], abs=10)
    assert loop.bytes_moved == 6 * 300 * 16 * 4
    assert loop.grade in ("exact", "float32")
    assert max(loop.ids) < 30
    assert (whole.scaled, whole.visited) == (False, 300)


def test_where_nothing_is_compiled_yet_compiled_code_is_timed_and_no_compiler_works_beside_it(
    tmp_path: Path, child_environment: dict[str, str]
) -> None:
    """As for whoever climbs first: in a process and a folder of its own."""
    environment = {**child_environment, "NUMBA_CACHE_DIR": os.fspath(tmp_path), "KNNSCOPE_COMPILE": "beside"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CLIMB], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    status, compile_ns, paths, left = json.loads(done.stdout)
    assert status == "ok"
    assert compile_ns > 100_000_000
    assert len(paths) == 11, "the first, and ten that are timed"
    assert ["plain"] not in paths
    assert left == "beside"


def test_an_engine_whose_sums_would_overflow_is_refused_before_it_is_timed() -> None:
    p = plan()
    row = rows_of(["faiss"], replace(p, queries=p.queries * np.float32(1e19)))["faiss"]
    assert (row.status, row.wall_ns) == ("unsupported", None)
    assert "l2 of these numbers overflows float32" in row.reason


def test_rungs_for_a_gpu_are_rows_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device, catalog):
        monkeypatch.setattr(module, "gpu_problem", lambda: "no GPU here")
    found = rows_of([*ladder.RUNGS, *climbing.ENGINES], plan())
    for name, row in found.items():
        gpu = catalog.ENGINES[name].device == "cuda" if name in catalog.ENGINES else ladder.rung_class(name).gpu
        assert row.status == ("no-gpu" if gpu else "ok"), name
        assert (row.wall_ns is None) == gpu
        assert bool(row.reason) == gpu
        assert not gpu or row.reason == "no GPU here", "no option helps where there is none"
    asked = rows_of([*ladder.RUNGS, "faiss", "cuvs"], plan(where="cuda"))
    assert {name for name, row in asked.items() if row.status == "ok"} == {"numpy-loop", "faiss"}
    assert {row.status for row in asked.values()} == {"ok", "no-gpu"}


def test_a_profiler_may_leave_out_loading_building_and_the_first_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture range holds the searches that count, and nothing else."""
    seen: list[str] = []
    monkeypatch.setattr(climbing.Machine, "capture", lambda self, on: seen.append("start" if on else "stop"))
    planted(
        monkeypatch,
        lambda self, query, k: seen.append("search") or list(range(k)),
        load=lambda self, rows: seen.append("load"),
        build=lambda self, k: seen.append("build"),
    )
    rows_of(["numpy-loop"], plan(repeat=3))
    assert seen == ["load", "build", "search", "start", "search", "search", "search", "stop"]


def test_a_wrong_answer_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda self, query, k: list(range(k)))
    row = rows_of(["numpy-loop"], plan())["numpy-loop"]
    assert (row.status, row.grade) == ("wrong", "wrong")
    assert row.differing > 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("the library broke\nin two lines"), "crashed"),
        (MemoryError(), "oom"),
        (type("OutOfMemoryError", (Exception,), {})("of the GPU's"), "oom"),
        (UnsupportedError("not this k"), "unsupported"),
    ],
)
def test_a_rung_that_fails_is_a_row_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def search(self: Rung, query: Any, k: int) -> list[int]:
        raise error

    inner = ladder.rung_class
    cls = type("Planted", (Rung,), {"changed": "planted", "search": search, "moved": lambda self, k: 1})
    monkeypatch.setattr(ladder, "rung_class", lambda name: cls if name == "cupy-loop" else inner(name))
    found = rows_of(["numpy-loop", "cupy-loop", "argsort"], plan())
    assert found["cupy-loop"].status == status
    assert found["cupy-loop"].wall_ns is None
    assert found["cupy-loop"].reason
    assert found["argsort"].ratio_below == found["argsort"].ratio_first


def test_a_long_first_call_is_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    planted(monkeypatch, lambda self, query, k: calls.append(1) or [0, 1, 2])
    monkeypatch.setattr(climbing, "LONG_NS", 0)
    row = rows_of(["numpy-loop"], plan(repeat=1))["numpy-loop"]
    assert len(row.samples_ns) == len(calls) == 2
    monkeypatch.setattr(climbing, "SECONDS", 0.0)
    assert len(rows_of(["numpy-loop"], plan(repeat=9))["numpy-loop"].samples_ns) == 1


def test_phases_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.search.test_ladder import fake_nvtx

    with fake_nvtx(monkeypatch) as said:
        rows_of(["argsort"], plan(repeat=1))
    shape = "rows=300 dim=16 k=3 batch=1"
    starts = [text for text in said if text != "end"]
    assert starts == [
        f"knnscope: {phase} argsort {shape}"
        for phase in ("load", "build", "search", "copy back", "search", "copy back")
    ]
    assert said.count("end") == len(starts)


def test_on_a_gpu_the_events_are_those_of_compares_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for CuPy and its events: 5 ms between two of them, whatever the wall says; without any while a profiler records."""
    from tests.bench.test_plan_timing import MS, Gpu

    gpu = Gpu()
    gpu.capture = lambda on: gpu.said.append("capture")
    monkeypatch.setattr(climbing.device, "gpu_problem", lambda: None)
    monkeypatch.setattr(climbing.device, "library", lambda: gpu)
    monkeypatch.setattr(climbing, "require", lambda *_: np)
    planted(monkeypatch, lambda self, query, k: gpu.said.append("search") or [0, 1, 2], on_gpu=True)
    row = rows_of(["argsort"], plan(where="cuda", repeat=2))["argsort"]
    assert (row.device, row.event_ns) == ("cuda", 5 * MS)
    assert len(row.samples_ns) == 2
    at = gpu.said.index("search")
    assert gpu.said[at - 2 : at + 4] == ["wait", "event", "search", "event", "wait", "between"]
    monkeypatch.setattr(climbing, "recorded", lambda: True)
    gpu.said.clear()
    assert rows_of(["argsort"], plan(where="cuda", repeat=2))["argsort"].event_ns is None
    assert "event" not in gpu.said
