"""Running commands in this process."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import cli, threads
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.api import reporting
from knnscope.bench import session
from knnscope.search import catalog
from tests.bench import planted
from tests.bench.test_result import CEILINGS

Run = Callable[..., tuple[int, str, str]]
Compare = Callable[..., tuple[int, str, str]]
QUICK = ("--rounds", 5, "--seconds", 1, "--threads", 1)
"""Each round is a process of each engine; a verdict takes 7."""
VERDICT = ("--rounds", 7)


@pytest.fixture
def knnscope(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process: exit code, output, errors."""

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["knnscope", *map(str, argv)])
        try:
            code = cli.run()
        except SystemExit as stop:  # --help
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def refused(result: tuple[int, str, str], message: str) -> None:
    """Exit code 2, nothing on standard output, one last line that says what."""
    code, out, err = result
    assert code == 2, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("knnscope:")]
    assert len(lines) == 1, err
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in err


@pytest.fixture
def pages() -> None:
    """For tests that look at the page that ``compare`` writes: drawing it takes longer than most runs here."""


@pytest.fixture
def processes() -> None:
    """For tests of what depends on an engine's process: how it ends, what steers it, what limits it."""


@pytest.fixture
def compare(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Compare:
    """The command with few rounds, no cold rows, given ceilings and planted engines beside the real ones.

    Each call has a folder without a run, tmp_path/out. It writes a page only with ``pages``, and starts a process of each engine only with ``processes``.
    """
    fewer: dict[str, Any] = {"cold": False}
    if "processes" in request.fixturenames:
        fewer["rounds"] = 2  # fewer than a user may ask for: one process of each engine, and one more
    else:
        request.getfixturevalue("one_process")
    if "pages" not in request.fixturenames:
        monkeypatch.setattr(reporting, "beside", lambda _: [])
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    inner = session.measure
    monkeypatch.setattr(session, "measure", lambda task, grid, o: inner(task, grid, replace(o, **fewer)))
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)
    for name in threads.COUNTS:  # a note would name them; Dask leaves them set in a process that has started workers
        monkeypatch.delenv(name, raising=False)

    def run(*argv: object) -> tuple[int, str, str]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return knnscope("compare", *QUICK[: 4 if "--threads" in argv else 6], *argv, "--out", tmp_path / "out")

    return run


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    return tmp_path / "v.npy"


def saved(folder: Path) -> list[Measurement]:
    return jsonl.read(folder / "out" / "results.jsonl", Measurement, "knnscope compare")


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "environment.json").read_text())
    return found
