"""knnscope demo: from words to an answer, on the shipped sample."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import is_run
from knnscope.bench.plan import Options
from knnscope.errors import KnnscopeError
from knnscope.search import catalog
from knnscope.store import free
from tests.cli.conftest import Run, refused


@pytest.mark.usefixtures("encoded", "one_process")
def test_demo_from_words_to_an_answer(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer rounds and engines than a user's, and given ceilings and vectors."""
    from dataclasses import replace

    from knnscope.bench import session
    from tests.bench.test_result import CEILINGS

    measure = session.measure
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    for name in ("sklearn", "usearch", "faiss-panorama"):  # take longest to start, seven times
        monkeypatch.delitem(catalog.ENGINES, name)
    monkeypatch.setattr(
        session, "measure", lambda task, grid, o: measure(task, grid, replace(o, rounds=7, seconds=1, cold=False))
    )
    code, out, _ = knnscope("demo", "--out", tmp_path / "run")
    assert code == 0
    assert "document crewed-mars-con-reply, grade 2" in out
    assert "engines agree" in out
    assert str(tmp_path / "run") in out
    page = tmp_path / "run" / "report.html"
    assert str(page) in out
    assert "<html" in page.read_text("utf-8")
    rows = jsonl.read(tmp_path / "run/results.jsonl", Measurement, "knnscope compare")
    assert {(row.engine, row.batch) for row in rows} == {(e, b) for e in catalog.timed() for b in (1, 10)}
    timed = [row for row in rows if row.status == "ok"]
    assert {row.engine for row in timed} >= {"numpy", "certified"}
    for row in timed:
        assert f"{row.ndcg_at_10:.4f}" in out
        assert 0.3 < row.ndcg_at_10 < 0.95
    for batch in ("1 query", "10 queries"):
        assert re.search(rf"^{batch}: fastest exact: \w+", out, re.M)
    assert json.loads((tmp_path / "run/environment.json").read_text())["cpu"]
    assert np.load(tmp_path / "run/vectors.npy").shape == (240, 384)

    def seen(task: object, grid: object, how: Options) -> NoReturn:
        raise KnnscopeError(f"quick {how.quick}, cold {how.cold}")

    monkeypatch.setattr(session, "measure", seen)  # the texts come from the cache now
    assert knnscope("demo", "--out", tmp_path / "whole")[2].endswith("quick False, cold True\n")
    assert knnscope("demo", "--quick", "--out", tmp_path / "quick")[2].endswith("quick True, cold False\n")
    refused(knnscope("demo", "--out", tmp_path / "run"), "run: holds a run, which stays: choose another folder")
    assert free(tmp_path / "whole", is_run) == tmp_path / "whole"
    assert re.fullmatch(r"run-\d{8}-\d{6}", free(tmp_path / "run", is_run).name), "a default name has another one"
