"""What is said of certified search on a GPU beside its peers is what both runs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_lines


def test_most_lines_are_three_times_the_best_peer_and_all_are_right() -> None:
    """85% were asked."""
    every = gpu_lines.lines()
    assert len({(line.data, line.dim, *map(line.own.get, ("rows", "queries", "k"))) for line in every}) == 47
    assert sum(line.times >= gpu_lines.WANTED for line in every) >= 0.85 * len(every)
    assert not any(line.wrong or line.own["by_all_rows"] for line in every)


def run(lines: list[dict[str, Any]]) -> str:
    return json.dumps({"data": "clustered", "dim": 8, "lines": lines})


def test_the_run_in_which_it_was_less_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"rows": 5, "k": 1, "wrong": 0}
    beside = [
        {**shape, "queries": 1, "graph_us": 2.0, "certex_us": 8.0, "torch-cuda_us": 6.0, "call_us": 1.0},
        {**shape, "queries": 2, "graph_us": 2.0, "certex_us": 8.0, "torch-cuda_us": 9.0},
        {**shape, "queries": 3, "graph_us": 2.0, "certex_us": 8.0, "torch-cuda_us": 9.0},
    ]
    others = [
        {**shape, "queries": 1, "graph_us": 3.0, "torch-cuda_us": 6.0, "cuvs_us": 30.0, "flashlib_us": "no memory"},
        {**shape, "queries": 2, "graph_us": 1.0, "torch-cuda_us": 9.0, "cuvs_us": 5.0, "wrong": 4},
    ]
    (tmp_path / "certified-gpu-one-h200.json").write_text(run(beside))
    (tmp_path / "more.json").write_text(run(others))
    monkeypatch.setattr(gpu_lines, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_lines, "RUNS", {"one": "more"})
    found = gpu_lines.lines()
    assert [line.times for line in found] == [2.0, 4.0, 4.0]
    assert [line.others for line in found] == [30.0, 5.0, float("inf")]
    said = gpu_lines.section(str, lambda _head, rows: "\n".join(" ".join(row) for row in rows))
    assert "**2 of 3 lines are at least 3 times as fast**; 4 wrong answers" in said
