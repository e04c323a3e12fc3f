"""knnscope compare --against: what changed since an earlier run, and what --fail-on makes of it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from knnscope.analysis import run as runs
from knnscope.analysis.measurement import Measurement
from knnscope.api import changing
from knnscope.cli import compare as command
from tests.cli.conftest import Compare, refused

ENGINES = ("--engines", "Right,AlsoRight,Takes", "--batch", 1)


@pytest.fixture
def earlier(compare: Compare, vectors: Path, tmp_path: Path) -> Path:
    """A run that was saved before."""
    assert compare(vectors, *ENGINES)[0] == 0
    shutil.move(tmp_path / "out", tmp_path / "earlier")
    return tmp_path / "earlier"


def rewritten(folder: Path, **values: Any) -> None:
    """The rows of a saved run with other values."""
    run = runs.load(folder)
    assert isinstance(run, runs.ComparisonRun)
    rows: list[Measurement] = [structs.replace(row, **values) for row in run.rows]
    runs.save(replace(run, rows=tuple(rows)), folder)


def test_what_changed_is_printed_after_the_run(compare: Compare, vectors: Path, earlier: Path, tmp_path: Path) -> None:
    code, out, err = compare(vectors, *ENGINES, "--against", earlier, "--fail-on", "wrong")
    assert code == 0
    since = out[out.index(f"A  {earlier}\n") :]
    assert since.startswith(f"A  {earlier}\nB  {tmp_path / 'out'}\n")
    assert re.search(r"^the machine: Right, AlsoRight and Takes, whose libraries are the same, take ", since, re.M)
    told = re.findall(
        r"^(?:Right|AlsoRight|Takes) +10 +1 +(worse|better|no significant change|too noisy to tell) ", since, re.M
    )
    assert len(told) == 3
    code, out, err = compare(vectors, *ENGINES, "--against", earlier, "--json")
    assert code == 0
    assert out == (tmp_path / "out" / "results.jsonl").read_text()
    assert f"A  {earlier}" in err


def test_it_is_held_against_several_runs(compare: Compare, vectors: Path, earlier: Path, tmp_path: Path) -> None:
    assert compare(vectors, *ENGINES)[0] == 0
    shutil.move(tmp_path / "out", tmp_path / "second")
    code, out, _ = compare(vectors, *ENGINES, "--against", earlier, tmp_path / "second", "--fail-on", "wrong")
    assert code == 0
    assert f"\nA  2 earlier runs, the last {tmp_path / 'second'}\nB  {tmp_path / 'out'}\n" in out
    assert out.rstrip().endswith("held against 2 of 2 earlier runs")
    table = re.findall(r"^(?:Right|AlsoRight|Takes) +10 +1 .* 2$", out, re.M)
    assert len(table) == 3
    argv = ("--against", tmp_path / "second", "--against", earlier)
    assert "A  2 earlier runs, the last" in compare(vectors, *ENGINES, *argv)[1]
    refused(
        compare(vectors, *ENGINES, "--against", earlier, earlier),
        f"{earlier} and {earlier}: the same run twice: name each run once",
    )
    refused(compare(*ENGINES, "--against", earlier, vectors), "if it is the data, name it before --against")


def test_a_slower_row_fails_the_check(
    compare: Compare, vectors: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = command.changes

    def slower(a: Any, b: Any) -> changing.Changes:
        told = inner(a, b).told
        rows = tuple(structs.replace(row, outcome="worse") if row.engine == "Takes" else row for row in told.rows)
        return changing.Changes(structs.replace(told, rows=rows))

    monkeypatch.setattr(command, "changes", slower)
    argv = (vectors, *ENGINES, "--against", earlier)
    code, _, err = compare(*argv, "--fail-on", "slower")
    assert code == 1
    assert re.search(r"^note: --fail-on: Takes slower at batch 1", err, re.M)
    assert compare(*argv, "--fail-on", "any")[0] == 1
    assert compare(*argv, "--fail-on", "wrong")[0] == 0
    assert compare(*argv)[0] == 0


def test_other_data_is_no_failure_and_a_note(compare: Compare, vectors: Path, earlier: Path) -> None:
    rewritten(earlier, threads=7)
    code, out, err = compare(vectors, *ENGINES, "--against", earlier, "--fail-on", "slower")
    assert code == 0
    assert "not comparable: 3 rows: not the same: threads" in re.sub(r"\d+ rows", "3 rows", out)
    assert "--fail-on slower: no row could tell: threads: 7, then 1" in err


def test_what_cannot_be_compared_with_is_refused_before_anything_is_measured(
    compare: Compare, vectors: Path, tmp_path: Path
) -> None:
    refused(compare(vectors, "--fail-on", "slower"), "--fail-on slower: slower than what.* --against DIR")
    assert compare(vectors, *ENGINES, "--fail-on", "any")[0] in (0, 1), (
        "any is all that can be checked; a row may be noisy"
    )
    refused(compare(vectors, "--against", tmp_path / "none"), "no such folder: a run of knnscope compare")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "results.jsonl").write_text("{}\n")
    refused(compare(vectors, "--against", tmp_path / "odd"), r"results\.jsonl:1: not a row of knnscope compare")
    ladder = Path(__file__).resolve().parents[2] / "benchmarks/results/ladder-75000-k3"
    refused(compare(vectors, "--against", ladder), "not a run of knnscope compare")
