"""From vectors to rows and the record of the environment, with planted engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import threads
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.bench import session
from knnscope.bench.plan import Case, Options
from knnscope.bench.session import Grid, Result, Task
from knnscope.ceilings.record import Ceilings
from knnscope.errors import KnnscopeError
from knnscope.records import Qrels
from knnscope.search import catalog
from tests.bench import planted
from tests.bench.test_result import CEILINGS

QUICK = Options(threads=1, rounds=7, seconds=1, cold=False)
VALUES = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
TASK = Task("made up", VALUES[:280], VALUES[280:], "l2")


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted ones, and one that wants a GPU, in the catalogue; ceilings are given."""
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)
    monkeypatch.setitem(catalog.ENGINES, "Gpu", replace(planted.ENGINES["Right"], device="cuda"))
    monkeypatch.setattr(session.device, "gpu_problem", lambda: "no GPU in tests")
    monkeypatch.setattr(session.cache, "obtain", obtain([]))


def obtain(asked: list[tuple[str, int | None]]) -> Callable[[str, int | None], Ceilings]:
    def given(device: str, budget: int | None = None) -> Ceilings:
        asked.append((device, budget))
        return CEILINGS

    return given


def hot(measured: Result) -> dict[tuple[str, int], Measurement]:
    return {(row.engine, row.batch): jsonl.check(row) for row in measured.rows if row.cache == "hot"}


def test_every_status_is_a_row_and_the_right_one_wins() -> None:
    names = ["Right", "WrongOrder", "Missing", "Gpu", "Aborts", "Raises", "Shallow"]
    measured = session.measure(TASK, Grid(names, (6,), (1, 20)), replace(QUICK, rounds=2))
    status = {engine: row.status for (engine, _), row in hot(measured).items()}
    assert status == dict(
        zip(names, ["ok", "wrong", "missing", "no-gpu", "crashed", "crashed", "unsupported"], strict=True)
    )
    gpu = [row for row in measured.rows if row.engine == "Gpu"]
    assert {(row.boundary, row.reason) for row in gpu} == {
        ("host", "no GPU in tests"),
        ("device", "no GPU in tests"),
    }
    assert hot(measured)["Right", 20].judged == 20
    assert hot(measured)["Right", 20].formula == "difference float32"
    assert list(measured.answers) == ["Right", "WrongOrder"]
    assert measured.answers["Right"].ids.shape == (20, 6)
    assert not measured.interrupted


@pytest.mark.usefixtures("one_process")
def test_the_environment_says_what_the_rows_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int | None]] = []
    monkeypatch.setattr(session.cache, "obtain", obtain(asked))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    measured = session.measure(TASK, Grid(["Right", "Gpu"], (3,), (1,)), QUICK)
    facts = json.loads(json.dumps(measured.environment, allow_nan=False))
    assert facts["options"] == {
        "threads": 1,
        "rounds": 7,
        "seconds": 1,
        "timeout": 300.0,
        "memory": None,
        "seed": 0,
        "cold": False,
        "quick": False,
    }
    assert facts["cleared_variables"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert facts["ceilings"] == {"cpu": json.loads(json.dumps(CEILINGS.to_json()))}
    assert asked == [("cpu", 1)], "the GPU is not there to be measured"
    assert {"load_1min", "throttled_usec", "gpus"} <= facts["before"].keys() == facts["after"].keys()
    assert facts["geometry"]["queries"] == 20
    assert {"cpu", "memory", "libraries", "source_sha256", "commit", "system"} <= facts.keys()
    row = hot(measured)["Right", 1]
    assert row.floor_ns == CEILINGS.floor_ns(row.bytes_moved, "hot")
    asked.clear()
    session.measure(TASK, Grid(["Right"], (3,), (1,)), replace(QUICK, threads=None))
    assert asked == [("cpu", threads.usable())], "stock: what the machine does with all cores"


@pytest.mark.usefixtures("one_process")
def test_without_ceilings_there_are_no_floors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> Ceilings:
        raise KnnscopeError("measuring took more than 300 s")

    monkeypatch.setattr(session.cache, "obtain", fails)
    row = hot(session.measure(TASK, Grid(["Right"], (3,), (1,)), QUICK))["Right", 1]
    assert (row.floor_ns, row.product_floor_ns) == (None, None)
    assert "no read floors for cpu: measuring took more than 300 s" in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_fewer_queries_than_a_batch_are_repeated_and_named_by_their_own_numbers() -> None:
    task = replace(TASK, queries=VALUES[280:283])
    measured = session.measure(task, Grid(["Right", "WrongAtTheEnd"], (3,), (1, 10)), QUICK)
    rows = hot(measured)
    assert rows["Right", 10].status == "ok"
    assert rows["Right", 10].judged == 3, "queries, not answers"
    assert rows["WrongAtTheEnd", 10].evidence.query == 0, "the tenth of 0 1 2 0 1 2 0 1 2 0"
    assert measured.answers["Right"].ids.shape == (3, 3)


@pytest.mark.usefixtures("one_process")
def test_all_answers_that_are_held_are_judged() -> None:
    """Seven rounds of one call of a slow case see seven queries; the answers to all were asked for, and the 20th is wrong."""
    rows = hot(session.measure(TASK, Grid(["WrongAtTheEnd"], (3, 5), (1, 20)), replace(QUICK, rounds=2)))
    assert rows["WrongAtTheEnd", 20].judged == 20
    late = replace(planted.ENGINES["Right"], path="tests.bench.planted:WrongInTheLast")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(catalog.ENGINES, "Late", late)
        timed_alone = session.measure(TASK, Grid(["Late"], (3,), (1,)), replace(QUICK, rounds=2, seconds=0.001))
    row = hot(timed_alone)["Late", 1]
    assert len([ns for some in row.samples_ns for ns in some]) < 20
    assert (row.grade, row.judged, row.beyond) == ("wrong", 20, 1)
    assert row.evidence.query == 19


@pytest.mark.usefixtures("one_process")
def test_distances_are_judged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        catalog.ENGINES, "Zeros", replace(planted.ENGINES["Right"], path="tests.bench.planted:ZeroDistances")
    )
    row = hot(session.measure(TASK, Grid(["Zeros"], (3,), (1,)), QUICK))["Zeros", 1]
    assert (row.grade, row.judged, row.beyond) == ("wrong", 20, 20)
    assert row.evidence.why.startswith("was given the distance 0, which is ")
    assert row.evidence.rival is None


@pytest.mark.usefixtures("one_process")
def test_quality_of_judged_answers() -> None:
    ids = session.measure(TASK, Grid(["Right"], (3,), (1,)), QUICK).answers["Right"].ids
    count = len(ids)
    qrels = Qrels(np.arange(count) + 5, ids[:, 1].astype(np.int64), np.ones(count, dtype=np.int64))
    task = replace(TASK, qrels=qrels, query_rows=tuple(range(5, 5 + count)))
    rows = hot(session.measure(task, Grid(["Right", "WrongOrder", "TooFew"], (1, 3), (1,)), QUICK))
    assert rows["Right", 1].mrr_at_10 == pytest.approx(0.5)
    assert rows["WrongOrder", 1].mrr_at_10 == pytest.approx(1)
    assert rows["TooFew", 1].mrr_at_10 is None, "there is no list of ten to judge"
    own = replace(task, own={5 + i: int(line[0]) for i, line in enumerate(ids)})
    rows = hot(session.measure(own, Grid(["Right"], (3,), (1,)), QUICK))
    assert rows["Right", 1].mrr_at_10 == pytest.approx(1), "without the query's own document"


@pytest.mark.usefixtures("one_process")
def test_little_memory_lets_one_engine_in_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.environment, "memory", lambda: {"available": 1, "total": 1, "limit": None})
    rows = hot(session.measure(TASK, Grid(["Right", "AlsoRight"], (3,), (1,)), QUICK))
    assert [row.status for row in rows.values()] == ["ok", "ok"]
    assert all(row.builds > 1 for row in rows.values())


@pytest.mark.parametrize(
    ("task", "ks", "message"),
    [
        (replace(TASK, queries=VALUES[:3, :5]), (3,), "queries have 5 components, the rows 8"),
        (replace(TASK, queries=np.full((2, 8), np.nan, np.float32)), (3,), "queries: row 0 has nan"),
        (replace(TASK, rows=VALUES[:0]), (3,), "rows have shape"),
        (TASK, (3, 281), "k = 281 is outside 1 to 280"),
    ],
)
def test_data_that_cannot_be_searched_is_refused_before_anything_starts(
    task: Task, ks: tuple[int, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Child", None)
    with pytest.raises(KnnscopeError, match=message):
        session.measure(task, Grid(["Right"], ks, (1,)), QUICK)


def test_children_read_the_users_own_file_and_nothing_is_left(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "rows.npy", VALUES)
    whole: Any = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for rows, own in ((whole, True), (whole[:100], False), (whole[::-1], False), (np.asarray(whole) * 2, False)):
        with session.vector_files(replace(TASK, rows=rows), 30) as (data, order):
            assert (data.rows == tmp_path / "rows.npy") == own
            np.testing.assert_array_equal(np.load(data.rows), rows)
            np.testing.assert_array_equal(np.load(data.queries), TASK.queries[order])
        assert (tmp_path / "rows.npy").exists()

    class Broken(session.Runner):
        def run(self, *_: object) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(session, "Runner", Broken)
    with pytest.raises(KeyboardInterrupt):
        session.measure(TASK, Grid(["Right"], (3,), (1,)), QUICK)
    assert not list(home.rglob("*.npy"))


def test_the_grid_asks_each_engine_at_the_boundaries_it_has() -> None:
    cases = Grid(["Right", "Gpu"], (3,), (10, 1)).cases()
    assert cases == [
        Case("Right", 3, 1, "host"),
        Case("Right", 3, 10, "host"),
        Case("Gpu", 3, 1, "host"),
        Case("Gpu", 3, 10, "host"),
        Case("Gpu", 3, 1, "device"),
        Case("Gpu", 3, 10, "device"),
    ]
    forced = session.measure(TASK, Grid(["Right"], (3,), (1,), ("device",)), QUICK)
    (row,) = forced.rows
    assert (row.status, row.boundary) == ("unsupported", "device")
    assert "no device boundary" in row.reason


def test_what_a_killed_run_left_is_swept_and_a_run_under_way_is_not(home: Path) -> None:
    left = home / "compare-left"
    left.mkdir()
    (left / session.HELD).touch()
    (left / "rows.npy").touch()
    with session.vector_files(TASK, 1) as (one, _):
        assert not left.exists()
        with session.vector_files(TASK, 1) as (other, _):
            assert one.rows.exists()
            assert other.rows.exists()
        assert one.rows.exists()
        assert not other.rows.exists()
