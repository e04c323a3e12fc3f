"""knnscope ladder as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from knnscope import analysis
from knnscope.api import climbing as command
from knnscope.search import ladder
from tests.bench.test_result import CEILINGS
from tests.cli.conftest import Run, refused


@pytest.fixture(autouse=True)
def ceilings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command.cache, "obtain", lambda *_: CEILINGS)
    monkeypatch.chdir(tmp_path)


def test_the_whole_ladder(knnscope: Run, tmp_path: Path) -> None:
    code, out, _ = knnscope("ladder", "--rows", 500, "--repeat", 2, "--device", "cpu", "--out", tmp_path / "out")
    assert code == 0
    rows = analysis.load(tmp_path / "out").rows
    assert [row.rung for row in rows] == [*ladder.RUNGS, *command.ENGINES]
    assert {row.status for row in rows} <= {"ok", "no-gpu", "missing"}
    for row in rows:
        assert row.rung in out
    without = [row.rung for row in rows if row.status == "no-gpu"]
    (why,) = {row.reason for row in rows if row.status == "no-gpu"}
    assert out.count(why) == 1, "one line, however many"
    assert f"not measured: {', '.join(without)}: {why}\n" in out
    assert "500 rows of 384 components, k = 3" in out
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["ceilings"]["cpu"]


def test_a_file_rungs_by_name_and_json(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((200, 8)).astype(np.float64))
    code, out, _ = knnscope(
        *("ladder", "v.npy", "--rungs", "topk,numpy-loop", "-k", 5, "--loop-rows", 50, "--json", "--device", "cpu")
    )
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["rung"] for row in rows] == ["numpy-loop", "topk"], "in the ladder's order"
    assert [row["scaled"] for row in rows] == [True, False]
    assert rows[0]["rows"] == 184, "16 rows are held out as queries"
    assert len(list(tmp_path.glob("runs/ladder-*/results.jsonl"))) == 1


def test_the_expanded_form_is_wrong_on_large_norms(knnscope: Run) -> None:
    code, out, _ = knnscope(
        *("ladder", "synthetic:large-norm,rows=3000", "--rungs", "topk,gemm", "-k", 10, "--device", "cpu", "--json")
    )
    assert code == 0
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["ok", "wrong"]


def test_verbose_is_text_and_measures_nothing(knnscope: Run, tmp_path: Path) -> None:
    code, out, _ = knnscope("ladder", "--rungs", "verbose")
    assert code == 0
    assert "their sum" in out
    assert not (tmp_path / "runs").exists()


def test_few_rows(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.eye(5, dtype=np.float32))
    code, out, _ = knnscope("ladder", "few.npy", "--rungs", "argsort", "-k", 2, "--device", "cpu")
    assert code == 0
    assert "3 rows of 5 components" in out


def test_refusals(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.full((100, 3), np.nan, dtype=np.float32))
    refused(knnscope("ladder", "--rungs", "argsrt"), "did you mean argsort")
    refused(knnscope("ladder", "--rungs", ","), "names of rungs")
    refused(knnscope("ladder", "--rows", 20, "-k", 21), "outside 1 to")
    refused(knnscope("ladder", "nan.npy"), "(?i)nan")
    refused(knnscope("ladder", "--device", "tpu"), "invalid choice")


def test_ctrl_c_keeps_what_was_climbed(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = command.climbing.climb

    def stopped(names: list[str], plan: object):
        yield next(inner(names, plan))
        raise KeyboardInterrupt

    monkeypatch.setattr(command.climbing, "climb", stopped)
    code, _, err = knnscope("ladder", "--rows", 200, "--repeat", 1, "--device", "cpu", "--out", tmp_path / "out")
    assert code == 130
    assert "climbed until then" in err
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 1


def test_without_a_gpu_a_rung_says_what_ran(knnscope: Run, tmp_path: Path) -> None:
    """No sentence of a rung that NumPy ran speaks of kernels, copies or a GPU that did something."""
    code, out, _ = knnscope("ladder", "--rows", 300, "--repeat", 1, "--device", "cpu", "--out", tmp_path / "out")
    assert code == 0
    ran = [r for r in analysis.load(tmp_path / "out").rows if r.wall_ns is not None]
    assert {"cupy-loop", "cupy-loop-numpy-input", "vectorized", "argsort", "topk"} <= {r.rung for r in ran}
    for row in ran:
        assert not re.search(r"kernel|pinned|on the GPU|one copy", row.changed), row.rung
        assert re.search(rf"^{row.rung} +{re.escape(row.changed)}", out, re.M)
