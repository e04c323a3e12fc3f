"""The thread budget: what a child process is given."""

from __future__ import annotations

import subprocess
import sys

import pytest

from knnscope import threads
from knnscope.errors import KnnscopeError


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
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.budget() == threads.usable()
    for odd in ("many", "0", "-1", "1025", "9" * 5000):
        monkeypatch.setenv("OMP_NUM_THREADS", odd)
        with pytest.raises(KnnscopeError, match="OMP_NUM_THREADS is "):
            threads.budget()


def test_libraries_keep_to_it() -> None:
    """A large product leaves as many threads as it was given: the process's own and what the library has started."""
    code = "import os, numpy as np; a = np.ones((1500, 1500)); a @ a; print(len(os.listdir('/proc/self/task')))"
    for budget in (1, 2)[: threads.usable()]:  # OpenBLAS starts no more than there are cores
        out = subprocess.run(
            [sys.executable, "-c", code], env=threads.environment(budget), capture_output=True, text=True, check=True
        )
        assert int(out.stdout) == budget
