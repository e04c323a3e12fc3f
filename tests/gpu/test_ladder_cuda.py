"""Every rung on a GPU: the code that CI runs with NumPy, and what only a GPU has; kernels and copies as the code says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.analysis import jsonl
from knnscope.bench.ladder import Climb, climb
from knnscope.search import ladder
from tests import oracle


def plan(rows: np.ndarray, queries: np.ndarray, k: int, repeat: int = 4) -> Climb:
    return Climb("drawn", rows, queries, k, "cuda", repeat)


def drawn(count: int, dim: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count + dim)
    return tuple((offset + random.standard_normal((n, dim))).astype(np.float32) for n in (count, 4))


@pytest.mark.parametrize("k", [1, 3, 10, 100, 700])
@pytest.mark.parametrize("dim", [1, 7, 384])
def test_every_rung_is_right(dim: int, k: int) -> None:
    rows, queries = drawn(700, dim)
    for row in climb(list(ladder.RUNGS), plan(rows, queries, k)):
        jsonl.check(row)
        assert row.status == "ok" or (row.rung == "gemm" and dim < 384), (row.rung, row.reason)
        assert row.judged == 4
        assert row.wall_ns > 0
        assert (row.event_ns is None) == (row.device == "cpu")


def test_the_expanded_form_is_wrong_on_large_norms_and_no_other_is() -> None:
    rows, queries = drawn(3000, 64, offset=1000)
    for row in climb(list(ladder.RUNGS), plan(rows, queries, 10)):
        assert row.status == ("wrong" if row.rung == "gemm" else "ok"), row.rung


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_ties_go_to_the_first_row(name: str) -> None:
    import cupy

    random = np.random.default_rng(0)
    values = random.integers(0, 3, (500, 4)).astype(np.float32)
    rung = ladder.make(name, cupy)
    rung.load(values)
    for k in (1, 10, 500):
        rung.build(k)
        for query in random.integers(0, 3, (3, 4)).astype(np.float32):
            found = rung.copy_back(rung.search(rung.ready(query), k))
            assert found == oracle.nearest(values, query, k, "l2")[0]


def test_kernels_and_copies_are_those_that_the_code_says() -> None:
    assert importlib.util.find_spec("cupti"), "cupti-python belongs to a GPU run"
    rows, queries = drawn(200, 32)
    counted: dict[str, Any] = {}
    for row in climb(list(ladder.RUNGS), plan(rows, queries, 3)):
        counted[row.rung] = row
    import cupy

    for name, row in counted.items():
        rung = ladder.make(name, cupy)
        rung.load(rows)
        rung.build(3)
        known = rung.launches(3)
        assert row.counted_by == ("cupti" if rung.on_gpu else "code"), name
        if known is not None:
            assert (row.kernels, row.copies) == known, name
    assert counted["cupy-loop"].copied_bytes == 4 * 200
    assert counted["cupy-loop-numpy-input"].copied_bytes == 4 * 200
    assert counted["cupy-pinned"].copied_bytes == 4 * 200
    assert counted["pinned-bulk"].copied_bytes == rows.nbytes
    assert counted["fused"].copies == 0


def test_the_command_on_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "knnscope", "ladder", "--rows", "2000", "--repeat", "2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    measured = {row["rung"] for row in rows if row["wall_ns"]}
    assert set(ladder.RUNGS) <= measured
    assert "on the GPU" in done.stdout
