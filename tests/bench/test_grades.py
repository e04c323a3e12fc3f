"""Hard cases asked of planted engines, which fail in every way, through real processes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knnscope.analysis.grades import Graded, Grades
from knnscope.bench import grades, session
from knnscope.bench.hard_cases import HARD, Hard
from knnscope.bench.plan import Options
from knnscope.records import Neighbors
from knnscope.search import catalog, definition
from tests.bench import planted

VALUES = np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)
SMALL = Hard("small", "is easy", lambda: (VALUES[:50], VALUES[50:]), k=6, batches=(1, 4, 25))
LATER = replace(SMALL, name="later", later=20)
OPTIONS = Options(threads=1, timeout=30)


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)
    monkeypatch.setitem(catalog.ENGINES, "Gpu", replace(planted.ENGINES["Right"], device="cuda"))
    monkeypatch.setattr(session.device, "gpu_problem", lambda: "no GPU in tests")


def outcomes(run: Grades, engine: str, case: str = "small") -> list[str]:
    return [g.outcome for g in run.grades if (g.engine, g.case) == (engine, case)]


def one(run: Grades, engine: str, batch: int) -> Graded:
    (found,) = (g for g in run.grades if (g.engine, g.batch) == (engine, batch))
    return found


def test_every_way_to_answer_or_not() -> None:
    names = ["Right", "WrongOrder", "WrongAtTheEnd", "Missing", "Gpu", "Raises", "Shallow", "Aborts"]
    run = grades.grade(names, [SMALL], ["l2"], OPTIONS)
    assert [e.name for e in run.engines] == ["Right", "WrongOrder", "WrongAtTheEnd", "Raises", "Shallow", "Aborts"]
    assert set(run.absent) == {"Missing", "Gpu"}
    assert run.absent["Gpu"] == "no GPU in tests"
    assert "/" not in run.absent["Missing"]
    assert outcomes(run, "Right") == ["exact"] * 3
    assert [one(run, "Right", batch).judged for batch in SMALL.batches] == [10, 10, 10], (
        "each query, also where a full batch has it twice"
    )
    assert outcomes(run, "WrongOrder") == ["wrong"] * 3
    evidence = one(run, "WrongOrder", 1).evidence
    assert evidence is not None
    assert evidence.expected == tuple(definition.search(VALUES[:50], VALUES[50:], 6, "l2").ids[evidence.query].tolist())
    assert (one(run, "WrongAtTheEnd", 1).beyond, one(run, "WrongAtTheEnd", 25).beyond) == (10, 1)
    assert one(run, "WrongAtTheEnd", 25).evidence.query == 4, "the 25th is the fifth again"  # type: ignore[union-attr]
    assert outcomes(run, "Raises") == ["failed"] * 3
    assert "no luck today" in (one(run, "Raises", 1).reason or "")
    assert outcomes(run, "Shallow") == ["refused"] * 3
    assert outcomes(run, "Aborts") == ["failed"] * 3
    assert "SIGABRT" in (one(run, "Aborts", 4).reason or "")
    assert not run.interrupted


def test_rows_added_later_where_the_engine_has_that() -> None:
    run = grades.grade(["faiss", "numpy", "Right"], [LATER], ["l2"], OPTIONS)
    assert outcomes(run, "faiss", "later") == ["exact"] * 3
    assert outcomes(run, "numpy", "later") == ["not offered"] * 3


def test_an_engine_whose_process_ends_again_and_again_is_not_started_for_ever() -> None:
    cases = [replace(SMALL, name=str(number)) for number in range(5)]
    run = grades.grade(["Aborts", "Right"], cases, ["l2"], OPTIONS)
    assert [outcomes(run, "Aborts", case.name)[0] for case in cases] == ["failed"] * 3 + ["not asked"] * 2
    assert all(outcomes(run, "Right", case.name) == ["exact"] * 3 for case in cases)


def test_a_hanging_engine_is_given_up() -> None:
    run = grades.grade(["Hangs"], [SMALL], ["l2"], replace(OPTIONS, timeout=3))
    assert outcomes(run, "Hangs") == ["failed"] * 3
    assert "timeout: no answer within 3 s" in (one(run, "Hangs", 1).reason or "")


def test_ctrl_c_keeps_what_was_asked() -> None:
    timer = threading.Timer(8, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        run = grades.grade(["Right", "Hangs"], [SMALL], ["l2"], OPTIONS)
    finally:
        timer.cancel()
    assert run.interrupted
    assert outcomes(run, "Right") == ["exact"] * 3
    assert outcomes(run, "Hangs") == []


@pytest.mark.parametrize("case", HARD, ids=lambda case: case.name)
def test_cases_are_as_their_entry_says(case: Hard, tmp_path: Path) -> None:
    rows, queries = case.make()
    again, _ = case.make()
    np.testing.assert_array_equal(rows, again)
    assert rows.dtype == queries.dtype
    assert rows.shape[1] == queries.shape[1]
    assert 0 < case.k <= len(rows) - case.later
    assert case.batches[0] == 1
    assert list(case.batches) == sorted(set(case.batches))
    assert np.isfinite(rows).all()
    truth = definition.search(rows, queries[:1], case.k, "l2")
    assert isinstance(truth, Neighbors)


def test_cases_have_names_of_their_own_and_are_all_that_was_asked_for() -> None:
    by_name = {case.name: case for case in HARD}
    assert len(by_name) == len(HARD)
    assert not any(";" in name for name in by_name), "which the command line puts between them"
    assert [by_name[name].make()[0].shape[1] for name in ("d = 1", "d = 4,096")] == [1, 4096]
    assert 2049 in {case.k for case in HARD}
    assert any(case.later for case in HARD)
