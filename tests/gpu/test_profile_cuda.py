"""Recording on a GPU, by whichever recorders are here: what was asked for is in the trace, and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from knnscope.profile import nsys
from knnscope.trace import reader
from knnscope.trace.model import Trace
from knnscope.trace.phases import phases

SCRIPT = """
import cupy as cp
a = cp.zeros(1000, cp.float32)
a += 1
cp.cuda.runtime.deviceSynchronize()
cp.cuda.profiler.start()
for _ in range(7):
    a += 2
cp.cuda.runtime.deviceSynchronize()
cp.cuda.profiler.stop()
a *= 3
cp.cuda.runtime.deviceSynchronize()
"""


@pytest.fixture(params=["nsys", "cupti"])
def recorder(request: pytest.FixtureRequest) -> str:
    here = nsys.find() is not None if request.param == "nsys" else importlib.util.find_spec("cupti") is not None
    if not here:
        pytest.skip(f"no {request.param} here")
    return str(request.param)


def profiled(recorder: str, folder: Path, *argv: object) -> Trace:
    command = [sys.executable, "-m", "knnscope", "profile", "--recorder", recorder, "--out", folder, *argv]
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.sqlite")
    return reader.read(path)


def test_every_search_of_a_rung(recorder: str, tmp_path: Path) -> None:
    trace = profiled(recorder, tmp_path, "topk", "--rows", 5000, "--dim", 64, "--repeat", 3)
    found = {phase.name: phase for phase in phases(trace)}
    assert {"load topk", "build topk", "search topk"} <= set(found)
    assert len(found["search topk"].windows[0]) == 4
    assert len(trace.kernels) >= 4


@pytest.mark.parametrize("rung", ["topk", "gemm"])
def test_the_searches_after_the_first(recorder: str, rung: str, tmp_path: Path) -> None:
    trace = profiled(recorder, tmp_path, rung, "--rows", 5000, "--dim", 384, "--repeat", 3, "--capture-range")
    found = {phase.name: phase for phase in phases(trace)}
    assert set(found) == {f"search {rung}"}
    assert len(found[f"search {rung}"].windows[0]) == 3
    assert len(trace.kernels) >= 3
    assert len(trace.kernels) % 3 == 0


def test_what_a_program_asks_for(recorder: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert len(profiled(recorder, tmp_path / "all", "--", sys.executable, script).kernels) >= 9
    trace = profiled(recorder, tmp_path / "range", "--capture-range", "--", sys.executable, script)
    assert len(trace.kernels) == 7
