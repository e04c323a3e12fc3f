"""Who else kept the processor busy, and which libraries are recorded."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from knnscope import environment
from knnscope.api import machine
from knnscope.bench import session
from knnscope.bench.plan import Options
from knnscope.search import catalog


def test_other_cores_are_what_is_busy_and_not_ours() -> None:
    before = {"busy_ticks": 100, "own_ticks": 10, "total_ticks": 1000}
    cores = environment.os.cpu_count() or 1
    after = {"busy_ticks": 200, "own_ticks": 60, "total_ticks": 1400}
    assert environment.other_cores(before, after) == round(50 / 400 * cores, 2)
    assert environment.other_cores(before, {**after, "own_ticks": 900}) == 0
    assert environment.other_cores(before, before) is None
    assert environment.other_cores({**before, "busy_ticks": None}, after) is None


def test_our_own_work_and_that_of_our_children_is_not_other_work() -> None:
    spin = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    before = environment.state()
    subprocess.run([sys.executable, "-c", spin], check=True)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = environment.state()
    assert after["own_ticks"] - before["own_ticks"] >= 80
    assert after["busy_ticks"] is None or after["busy_ticks"] - before["busy_ticks"] >= 60


@pytest.fixture
def new_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that no list here knows, installed under another name than it is imported by, and an engine that uses it."""
    info = tmp_path / "Brand_New-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Brand-New\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("brandnew\n")
    (tmp_path / "brandnew.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    entry = replace(catalog.ENGINES["numpy"], library="brandnew")
    monkeypatch.setitem(catalog.ENGINES, "new", entry)
    return "brand-new"


def test_the_library_of_every_engine_is_recorded(new_library: str) -> None:
    found = environment.collect(catalog.libraries())["libraries"]
    assert found[new_library] == "1.2"
    assert machine.info().facts["libraries"] == found
    brought = metadata.packages_distributions()
    for name, entry in catalog.ENGINES.items():
        if catalog.problem(name) is None:
            there = brought[entry.library]
            assert any(found.get(distribution.replace("_", "-").lower()) for distribution in there), (
                f"no version of {entry.library}"
            )
    assert list(found)[: len(environment.LIBRARIES)] == list(environment.LIBRARIES)
    assert set(found) == {*environment.LIBRARIES, new_library}, "one name a library"


def test_runs_record_it(new_library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.eye(8, dtype=np.float32)
    grid = session.Grid(["numpy"], (2,), (1,))
    options = Options(threads=1, rounds=2, seconds=0.01, cold=False, quick=True)
    measured = session.measure(session.Task("t", rows, rows[:2], "l2"), grid, options)
    assert measured.environment["libraries"][new_library] == "1.2"


@pytest.mark.usefixtures("new_library")
def test_a_file_that_shadows_any_engines_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for name in ("brandnew", "onnxruntime"):
        (folder / f"{name}.py").touch()
        assert f"{folder / name}.py shadows the library {name}: rename it" in machine.info().facts["clashes"]
