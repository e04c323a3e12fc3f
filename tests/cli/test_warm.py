"""Compiling ahead leaves nothing to compile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knnscope.certified import warm
from knnscope.certified.cpu import code_cache, dispatch, jit
from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests.cli.conftest import Run, refused

SEARCHES = """
import numpy as np, sys, knnscope
from knnscope import ExactIndex
from knnscope.certified.cpu import code_cache
written = []
save = code_cache.Shelf.save
code_cache.Shelf.save = lambda self, types, body: written.append(self._name) or save(self, types, body)
rows = (np.random.default_rng(1).standard_normal((17000, 70)) * np.arange(1, 71) ** -0.8).astype(np.float32)
for table in (rows, rows[:500]):
    for metric in ("l2", "ip", "cosine"):
        index = ExactIndex(table, metric, threads=2)
        for batch in (1, 2, 3, 5, 9, 30):
            index.search(table[:batch], 3)
            index.search(table[:batch], 3, where=np.arange(len(table)) % 2 == 0)
    fixed, names, mask, asked = (np.array(a) for a in (table, np.arange(len(table)), table[:, 0] > 0, table[:2].astype(float)))
    for array in (fixed, names, mask, asked):
        array.flags.writeable = False
    knnscope.ExactIndex(fixed, ids=names).search(asked, 3, where=mask)
print(written)
"""


def test_what_was_warmed_is_not_compiled_again(knnscope: Run, child_environment: dict[str, str]) -> None:
    code, out, _ = knnscope("warm")
    assert code == 0
    assert str(code_cache.path()) in out
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES], env=child_environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", definition.DTYPES)
def test_rows_to_warm_with_have_a_plane(dtype: str) -> None:
    """Else its code is not compiled, and whoever has one waits."""
    assert "half a byte" in ExactIndex(warm.rows_of(warm.usual(dtype))).levels


def test_steps_that_take_no_time_are_not_told(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is compiled already, as for whoever asks twice."""
    monkeypatch.setattr(warm, "steps", lambda _: iter([("building codes", 1), ("batches of 1, 1 thread", 1)]))
    monkeypatch.setattr(warm, "is_kept", lambda: True)
    code, _, err = knnscope("warm")
    assert (code, err) == (0, "")


def test_a_folder_that_takes_nothing_is_an_error(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/knnscope")
    monkeypatch.setattr(warm, "steps", None)  # it is known before anything is compiled
    refused(knnscope("warm"), "/proc/knnscope.*: compiled code cannot be written there: set KNNSCOPE_HOME")


def test_every_plan_has_a_batch() -> None:
    for isa in dispatch.NEEDS:
        sizes = warm.batches(isa)
        plans = {tuple(dispatch.plan(isa, count)) for count in range(1, 200)}
        assert {tuple(dispatch.plan(isa, count)) for count in sizes} == plans


def test_types_are_checked(knnscope: Run) -> None:
    refused(knnscope("warm", "--dtype", "float31"), "--dtype float31: one of .*float32")
    refused(knnscope("warm", "--dtype", ","), "--dtype is empty")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_terminal_hears_of_the_first_compiling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, terminal: bool, kept: bool
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    if kept:
        code_cache.path().mkdir()
        (code_cache.path() / "x.code").touch()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    jit._announce.cache_clear()
    jit._announce()
    jit._announce()
    said = capsys.readouterr().err
    assert said.count("compiling certified search") == (terminal and not kept)
