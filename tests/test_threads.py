"""The thread budget: what a child process is given."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from knnscope import threads


def test_steering_variables_are_cleared_then_set() -> None:
    base = {"PATH": "/bin", "OPENBLAS_CORETYPE": "Zen", "OMP_WAIT_POLICY": "active", "MKL_DYNAMIC": "1", "KMP_X": "1"}
    assert threads.environment(3, base) == {"PATH": "/bin", **dict.fromkeys(threads.COUNTS, "3")}
    assert threads.environment(None, base) == {"PATH": "/bin"}
    assert (
        threads.environment(None, {"KMP_INIT_AT_FORK": "FALSE"}) == threads.cleared({"KMP_INIT_AT_FORK": "FALSE"}) == {}
    )
    place = {"NUMBA_CACHE_DIR": "/somewhere"}
    assert (threads.environment(None, place), threads.cleared(place)) == (place, {}), "where compiled code is kept"
    assert threads.cleared(base) == {k: v for k, v in base.items() if k != "PATH"}


def test_budget_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.budget() == 5
    for odd in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", odd)
        assert threads.budget() in (1, threads.usable())


def test_libraries_keep_to_it() -> None:
    code = (
        "import time, numpy as np; a = np.random.default_rng(0).random((1500, 1500)); a @ a\n"
        "w, c = time.perf_counter(), time.process_time()\n"
        "for _ in range(3): a @ a\n"
        "print((time.process_time() - c) / (time.perf_counter() - w))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env=threads.environment(1), capture_output=True, text=True, check=True
    )
    assert float(out.stdout) < 1.2
    assert os.environ.get("OMP_NUM_THREADS") is None or threads.budget() >= 1
