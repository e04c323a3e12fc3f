"""knnscope compare --beside: another environment and this one by turns, what is said of it, and what --fail-on makes of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knnscope.api import comparing
from knnscope.bench.beside import Two
from knnscope.search import catalog
from tests import environments
from tests.bench import planted
from tests.cli.conftest import Compare, Run, refused
from tests.environments import furnished

pytestmark = pytest.mark.usefixtures("processes")
FEW = ("--batch", 1, "--rounds", 1, "--again", 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without knnscope and scikit-learn."""
    folder = tmp_path_factory.mktemp("environments")
    return furnished(environments.bare(folder / "bare"), folder / "other", "sklearn", "scikit_learn")


@pytest.mark.usefixtures("pages")
def test_both_are_measured_and_what_changed_is_said(
    compare: Compare, knnscope: Run, vectors: Path, other: Path, tmp_path: Path
) -> None:
    argv = (vectors, "--engines", "numpy,faiss,sklearn,Missing", *FEW, "--beside", other)
    code, out, err = compare(*argv)
    assert code == 0, err
    assert out.startswith(f"A  {other}/bin/python\nB  /"), "which environments they are comes first"
    assert out.index("scikit-learn  not installed  ") < out.index("row by row (B / A: measured by turns)"), (
        "then their versions"
    )
    assert re.findall(r"^(numpy|faiss) +10 +1 +too noisy to tell .* 1$", out, re.M) == ["numpy", "faiss"]
    assert "numpy and faiss: too few rounds to tell\n" in out
    assert "measured by turns; pairs of processes a row: 1\n" in out
    assert re.search(r"^note: sklearn is left out: in the environment beside: sklearn is not installed: ", err, re.M)
    folder = tmp_path / "out"
    assert out.endswith(
        f"saved in {folder}: results.jsonl, environment.json, run.json, verdict.json, changes.json, beside, report.html\n"
    )
    assert knnscope("show", folder)[:2] == (0, out)
    code, rows, _ = knnscope("show", folder, "--json")
    assert [json.loads(line)["engine"] for line in rows.splitlines() if '"hot"' in line] == ["numpy", "faiss"]
    assert [json.loads(line) for line in rows.splitlines()] == json.loads((folder / "changes.json").read_text())["rows"]
    assert "measured by turns" not in knnscope("show", folder / "beside")[1], "each side is a run as any other"
    page = (folder / "report.html").read_text()
    assert "what changed from one environment to another" in page
    assert knnscope("report", folder, "-o", tmp_path / "page.md")[0] == 0
    text = (tmp_path / "page.md").read_text()
    assert str(other) in text
    assert "| numpy | 10 | 1 | too noisy to tell |" in text
    assert knnscope("report", folder, "-o", tmp_path / "rows.csv")[0] == 0
    head, *lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert head.startswith("engine,k,batch")
    assert head.split(",")[-1] == "libraries" or "pairs" in head
    assert {line.split(",")[0] for line in lines} == {"numpy", "faiss"}
    ours, theirs = (json.loads((folder / some / "environment.json").read_text()) for some in ("", "beside"))
    assert (theirs["interpreter"], theirs["libraries"]["scikit-learn"]) == (str(other / "bin" / "python"), None)
    assert ours["libraries"]["scikit-learn"]
    assert ours["source_sha256"] == theirs["source_sha256"], "this code measured both"
    assert ours["geometry"] == theirs["geometry"]
    for some in (folder, folder / "beside"):
        lines = [json.loads(line) for line in (some / "results.jsonl").read_text().splitlines()]
        assert {row["engine"]: row["status"] for row in lines} == {
            "numpy": "ok",
            "faiss": "ok",
            "Missing": "missing",
        }, "what neither has is a row that says so, as ever"


def test_rows_for_a_program_and_a_check_where_nothing_can_be_told(
    compare: Compare, vectors: Path, other: Path, tmp_path: Path
) -> None:
    code, out, err = compare(vectors, "--engines", "numpy", *FEW, "--beside", other, "--json", "--fail-on", "slower")
    assert code == 0
    assert "--fail-on slower: no row could tell: too few rounds to tell" in err
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["engine"], row["cache"]): row["pairs"] for row in rows} == {("numpy", "first"): 1, ("numpy", "hot"): 1}
    assert rows == json.loads((tmp_path / "out" / "changes.json").read_text())["rows"]


def test_a_slower_row_fails_the_check(
    compare: Compare, vectors: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy of this environment takes 12 ms of a clock of its own, however busy the machine; that of the other is what it was."""
    monkeypatch.setitem(catalog.ENGINES, "numpy", planted.ENGINES["Takes"])
    argv = (vectors, "--engines", "numpy", "--batch", 1, "--rounds", 6, "--beside", other, "--again", 0)
    code, out, err = compare(*argv, "--fail-on", "slower")
    assert code == 1, out
    assert re.search(r"^worse: numpy at batch 1, k = 10: [\d.]+ times as long", out, re.M)
    assert "note: --fail-on: numpy slower at batch 1" in err.splitlines()


def test_wrong_answers_of_either_side_are_told(
    compare: Compare, vectors: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.ENGINES, "numpy", planted.ENGINES["WrongIds"])
    code, out, err = compare(vectors, "--engines", "numpy", *FEW, "--beside", other, "--fail-on", "slower,wrong")
    assert code == 1
    assert re.search(r"^newly wrong: .*numpy at batch 1, k = 10 \(was exact\)", out, re.M)
    assert "note: --fail-on: numpy wrong" in err.splitlines()


def test_what_cannot_be_measured_is_refused_in_a_line(
    compare: Compare, vectors: Path, other: Path, tmp_path: Path
) -> None:
    argv = (vectors, *FEW, "--beside")
    refused(compare(*argv, tmp_path / "none"), "--beside .*none: no such file: a Python interpreter was expected")
    refused(compare(*argv, other, "--engines", "sklearn"), "no engine that both environments have: sklearn is left out")
    refused(compare(*argv, other, "--quick"), "--quick: one process an engine tells no change of two environments")
    refused(compare(*argv, other, "--against", tmp_path), "--beside and --against: .* leave one of them out")
    refused(compare(vectors, "--again", 1), "--again 1: .* another environment with --beside PYTHON")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_was_measured(
    compare: Compare, vectors: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = comparing.by_turns.measure

    def stopped(*args: Any) -> Two:
        two = inner(*args)
        before, after = (replace(one, interrupted=True) for one in (two.before, two.after))
        return replace(two, before=before, after=after)

    monkeypatch.setattr(comparing.by_turns, "measure", stopped)
    code, out, err = compare(vectors, "--engines", "numpy", *FEW, "--beside", other)
    assert code == 130
    assert out.startswith("A  ")
    assert f"what was measured until then is in {tmp_path / 'out'}" in err
    assert (tmp_path / "out" / "beside" / "results.jsonl").exists()
