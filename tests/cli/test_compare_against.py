"""knnscope compare --against: what changed since an earlier run, and what --fail-on makes of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from knnscope.analysis import run as runs
from knnscope.analysis.measurement import Measurement
from knnscope.api import changing
from knnscope.api.comparing import Comparison
from knnscope.cli import compare as command
from tests.analysis.test_verdict import failed
from tests.cli.conftest import Compare, Run, refused

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


Look = Callable[..., list[int]]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Say what comes of Takes at each look; all else is clear. Gives a list of how many later runs each look had."""

    def say(*outcomes: str) -> list[int]:
        inner, looks = command.changes, []

        def told(a: Any, b: Any) -> changing.Changes:
            found = inner(a, b).told
            outcome = outcomes[min(len(looks), len(outcomes) - 1)]
            looks.append(len(found.later) or 1)
            rows = [
                structs.replace(row, outcome=outcome if row.engine == "Takes" else "same", ratio=1.0, why="")
                for row in found.rows
            ]
            return changing.Changes(structs.replace(found, rows=tuple(rows)))

        monkeypatch.setattr(command, "changes", told)
        return looks

    return say


def test_a_slower_row_fails_the_check(compare: Compare, vectors: Path, earlier: Path, look: Look) -> None:
    look("worse")
    argv = (vectors, *ENGINES, "--against", earlier)
    code, _, err = compare(*argv, "--fail-on", "slower", "--again", 0)
    assert code == 1
    assert re.search(r"^note: --fail-on: Takes slower at batch 1", err, re.M)
    assert compare(*argv, "--fail-on", "any", "--again", 0)[0] == 1
    assert compare(*argv, "--fail-on", "wrong")[0] == 0
    assert compare(*argv)[0] == 0


def test_a_check_measures_again_what_is_not_clear(
    compare: Compare, vectors: Path, earlier: Path, tmp_path: Path, look: Look
) -> None:
    """Twice at most by default, and each run is saved; what was measured before in the same folder is not judged with them."""
    argv = (vectors, *ENGINES, "--against", earlier)
    looks = look("worse")
    code, out, err = compare(*argv, "--fail-on", "slower")
    assert (code, looks) == (1, [1, 2, 3])
    folders = [tmp_path / "out", tmp_path / "out" / "again-1", tmp_path / "out" / "again-2"]
    assert len({str(runs.load(folder).rows) for folder in folders}) == 3
    line = "note: measuring again ({} of at most 2), since it is not clear yet: Takes at batch 1"
    assert [line.format(i) in err.splitlines() for i in (1, 2)] == [True, True]
    assert f"\nA  {earlier}\nB  3 later runs, the first {folders[0]}\n" in out
    assert out.count("\nB  ") == 1
    looks = look("noisy", "same")
    assert compare(*argv, "--fail-on", "slower")[0] == 0
    assert looks == [1, 2]
    assert not folders[2].exists()
    looks = look("same")
    assert compare(*argv, "--fail-on", "any")[0] in (0, 1), "a row may be noisy"
    assert looks == [1]
    assert not folders[1].exists()


def test_how_often_it_measures_again_can_be_said(
    compare: Compare, vectors: Path, earlier: Path, tmp_path: Path, look: Look
) -> None:
    argv = (vectors, *ENGINES, "--against", earlier)
    looks = look("noisy")
    assert compare(*argv)[0] == 0
    assert looks == [1], "where nothing can fail for it"
    code, out, err = compare(*argv, "--again", 1, "--json")
    assert code == 0
    assert looks[1:] == [1, 2]
    assert out == (tmp_path / "out" / "results.jsonl").read_text()
    assert "B  2 later runs, the first" in err
    refused(compare(vectors, *ENGINES, "--again", 1), "--again 1: .* name an earlier run with --against DIR")


def test_an_engine_that_fails_when_measured_again_fails_the_check(
    compare: Compare, vectors: Path, earlier: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    look("noisy")
    inner, calls = command.compare, []

    def crashed_later(*args: Any) -> Comparison:
        calls.append(inner(*args))
        if len(calls) == 2:
            kept = (row for row in calls[-1].run.rows if row.engine != "Takes")
            return Comparison(replace(calls[-1].run, rows=(*kept, *failed("Takes", "crashed"))))
        return calls[-1]

    monkeypatch.setattr(command, "compare", crashed_later)
    code, _, err = compare(vectors, *ENGINES, "--against", earlier, "--again", 1, "--fail-on", "crashed")
    assert code == 1
    assert "note: --fail-on: Takes crashed" in err.splitlines()


def test_ctrl_c_while_measuring_again_keeps_all(
    compare: Compare, vectors: Path, earlier: Path, tmp_path: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = look("worse")
    inner, calls = command.compare, []

    def stopped(*args: Any) -> Comparison:
        calls.append(inner(*args))
        if len(calls) == 2:
            run = calls[-1].run
            return Comparison(runs.save_facts(replace(run, facts=structs.replace(run.facts, interrupted=True))))
        return calls[-1]

    monkeypatch.setattr(command, "compare", stopped)
    code, out, err = compare(vectors, *ENGINES, "--against", earlier, "--fail-on", "slower")
    assert (code, looks) == (130, [1, 2])
    assert "B  2 later runs" in out
    assert f"what was measured until then is in {tmp_path / 'out'}" in err
    assert (tmp_path / "out" / "again-1" / "results.jsonl").exists()


def test_other_data_is_no_failure_and_a_note(compare: Compare, vectors: Path, earlier: Path) -> None:
    rewritten(earlier, threads=7)
    code, out, err = compare(vectors, *ENGINES, "--against", earlier, "--fail-on", "slower")
    assert code == 0
    assert "not comparable: 3 rows: not the same: threads" in re.sub(r"\d+ rows", "3 rows", out)
    assert "--fail-on slower: no row could tell: threads: 7, then 1" in err


def test_a_run_is_not_replaced_by_what_is_held_against_it(
    knnscope: Run, vectors: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(earlier.parent)
    before = (earlier / "results.jsonl").read_bytes()
    refused(
        knnscope("compare", vectors, *ENGINES, "--against", earlier, "--out", earlier.name),
        f"{earlier.name}: this command reads it, and would write over it",
    )
    assert (earlier / "results.jsonl").read_bytes() == before


def test_what_cannot_be_compared_with_is_refused_before_anything_is_measured(
    compare: Compare, vectors: Path, tmp_path: Path
) -> None:
    refused(compare(vectors, "--fail-on", "slower"), "--fail-on slower: slower than what.* --against DIR")
    assert compare(vectors, *ENGINES, "--fail-on", "any")[0] in (0, 1), (
        "any is all that can be checked; a row may be noisy"
    )
    refused(compare(vectors, "--against", tmp_path / "none"), "no such folder: the folder of a run of knnscope compare")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "results.jsonl").write_text("{}\n")
    refused(compare(vectors, "--against", tmp_path / "odd"), r"results\.jsonl:1: not a row of knnscope compare")
    ladder = Path(__file__).resolve().parents[2] / "benchmarks/results/ladder-75000-k3"
    refused(compare(vectors, "--against", ladder), "not a run of knnscope compare")
