"""knnscope sql as a user runs it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from knnscope.report.answer import CELL
from knnscope.trace import asking, database
from knnscope.trace.queries import QUERIES
from tests.cli.conftest import Run, refused
from tests.trace import mutate

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.sqlite"
    path.write_bytes(lzma.decompress(mutate.FIXTURE.read_bytes()))
    return path


def test_without_a_question_the_questions_are_listed(knnscope: Run, trace: Path) -> None:
    code, out, _ = knnscope("sql", trace)
    assert code == 0
    for name, query in QUERIES.items():
        assert name in out
        assert query.sentence[:60] in out


def test_a_question_by_name_in_three_formats(knnscope: Run, trace: Path) -> None:
    code, out, err = knnscope("sql", trace, "copy-throughput")
    assert (code, err) == (0, "")
    assert "mib_per_s" in out.splitlines()[0]
    rows = list(csv.DictReader(io.StringIO(knnscope("sql", trace, "copy-throughput", "--format", "csv")[1])))
    objects = json.loads(knnscope("sql", trace, "copy-throughput", "--format", "json")[1])
    assert [{key: str(value) for key, value in row.items()} for row in objects] == rows
    assert objects[0]["direction"] == "Host-to-Device"


def test_a_select(knnscope: Run, trace: Path) -> None:
    code, out, _ = knnscope("sql", trace, "SELECT count(*) AS n FROM CUPTI_ACTIVITY_KIND_KERNEL;", "--format", "csv")
    assert (code, out) == (0, "n\n1200\n")
    assert (
        knnscope("sql", trace, f"{ENDLESS} SELECT sum(i) FROM (SELECT i FROM n LIMIT 4)", "--format", "csv")[1]
        == "sum(i)\n10\n"
    )


def test_rows_are_limited_and_more_is_said(knnscope: Run, trace: Path) -> None:
    code, out, err = knnscope("sql", trace, f"{ENDLESS} SELECT i FROM n", "--limit", 3)
    assert code == 0, "endless rows: only some are fetched"
    assert out.split() == ["i", "1", "2", "3"]
    assert "more rows" in err
    assert len(knnscope("sql", trace, f"{ENDLESS} SELECT i FROM n", "--format", "csv")[1].splitlines()) == 201
    assert knnscope("sql", trace, f"{ENDLESS} SELECT i FROM n LIMIT 3", "--limit", 3)[2] == ""


@pytest.mark.parametrize(
    "question",
    [
        "DELETE FROM StringIds",
        "INSERT INTO StringIds VALUES (1, 'x')",
        "DROP TABLE StringIds",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA table_info(StringIds)",
        "SELECT * FROM pragma_database_list",
        "ATTACH '/tmp/other.sqlite' AS other",
        "VACUUM INTO '{beside}'",
        "BEGIN IMMEDIATE",
        "SAVEPOINT s",
        "REINDEX StringIds",
        "ANALYZE StringIds",
        "SELECT load_extension('x')",
        "SELECT LOAD_EXTENSION('x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE StringIds",
        "WITH a AS (SELECT 1) DELETE FROM StringIds",
        "-- nothing at all",
        " ; ",
    ],
)
def test_only_one_reading_statement(knnscope: Run, trace: Path, question: str) -> None:
    before = hashlib.sha256(trace.read_bytes()).digest()
    refused(
        knnscope("sql", trace, question.format(beside=trace.parent / "copy.sqlite")),
        "only read: write one SELECT|one question at a time|returns no rows|not authorized|no such function",
    )
    assert hashlib.sha256(trace.read_bytes()).digest() == before
    assert os.listdir(trace.parent) == [trace.name]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], float]], None]:
    """Both modules that keep the time limit read this clock."""

    def hand_in(now: Callable[[], float]) -> None:
        for module in (asking, database):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=now))

    return hand_in


@pytest.fixture
def ticking(clock: Callable[[Callable[[], float]], None]) -> Iterator[int]:
    """A second passes whenever somebody looks."""
    ticks = count()
    clock(lambda: float(next(ticks)))
    return ticks


def test_a_long_question_is_stopped(knnscope: Run, trace: Path, ticking: Iterator[int]) -> None:
    refused(knnscope("sql", trace, f"{ENDLESS} SELECT max(i) FROM n"), "stopped after 60 s")
    assert next(ticking) < 70, "by the first look after its end"


def test_an_endless_view_of_the_traces_own(knnscope: Run, trace: Path, ticking: Iterator[int]) -> None:
    view = f"CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS {ENDLESS} SELECT i AS start, i + 1 AS end FROM n"
    trace.write_bytes(mutate.statements(trace.read_bytes(), "DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL", view))
    refused(knnscope("sql", trace, "SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL"), "stopped")
    refused(knnscope("sql", trace, "kernels"), "no table CUPTI_ACTIVITY_KIND_KERNEL")


def test_cells_steer_no_terminal(knnscope: Run, trace: Path) -> None:
    question = "SELECT char(27) || '[2J' || char(10) || 'x' AS \"a\x1b[1mb\", x'00ff' AS raw, NULL AS none, 1e999 AS huge, 2 AS raw"
    for form in ("table", "csv", "json"):
        code, out, _ = knnscope("sql", trace, question, "--format", form)
        assert code == 0
        assert not any(not c.isprintable() and c != "\n" for c in out)
    (row,) = json.loads(out)
    assert row == {"a\x1b[1mb": "\x1b[2J\nx", "raw": "00ff", "none": None, "huge": None, "raw_2": 2}
    wide = knnscope("sql", trace, "SELECT printf('%1000d', 1) || 'x'")[1]
    assert max(map(len, wide.splitlines())) <= CELL


def test_a_huge_cell_is_refused(knnscope: Run, trace: Path) -> None:
    refused(knnscope("sql", trace, "SELECT zeroblob(900000000)"), "too big")


def test_mistakes_are_told(knnscope: Run, trace: Path, tmp_path: Path) -> None:
    refused(knnscope("sql", trace, "kernls"), "did you mean kernels")
    refused(knnscope("sql", trace, "SELECT a FROM nowhere"), "no such table: nowhere")
    refused(knnscope("sql", trace, "SELEKT 1"), "syntax error")
    refused(knnscope("sql", tmp_path / "absent.sqlite", "kernels"), "a trace .* was expected")
    refused(knnscope("sql", tmp_path / "absent.sqlite"), "a trace .* was expected")
    refused(knnscope("sql", trace, "kernels", "--format", "xml"), "invalid choice")
    trace.write_bytes(mutate.statements(trace.read_bytes(), "DROP TABLE CUPTI_ACTIVITY_KIND_MEMCPY"))
    refused(knnscope("sql", trace, "copies"), "no table CUPTI_ACTIVITY_KIND_MEMCPY")


def test_a_damaged_page_is_damage(knnscope: Run, trace: Path) -> None:
    data = trace.read_bytes()
    size = mutate.page_size(data)
    trace.write_bytes(data[:size] + b"\xa5" * (len(data) - size))
    refused(knnscope("sql", trace, "SELECT * FROM StringIds"), "damaged")


def test_who_stops_a_question_is_not_told_that_it_took_too_long(
    trace: Path, clock: Callable[[Callable[[], float]], None]
) -> None:
    """SQLite asks a function of ours whether to go on, and an interruption there looks like a no."""
    looks = count()

    def interrupted() -> float:
        if next(looks) == 5:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    clock(interrupted)
    with pytest.raises(KeyboardInterrupt):
        asking.answer(trace, f"{ENDLESS} SELECT count(*) FROM n", 10)
    assert next(looks) > 5


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_changes_that_lie_beside_a_trace_are_not_passed_over(
    knnscope: Run, trace: Path, ending: str, tmp_path: Path
) -> None:
    beside = trace.with_name(trace.name + ending)
    beside.touch()
    assert knnscope("sql", trace, "kernels")[0] == 0, "an empty one holds nothing"
    beside.write_bytes(b"x" * 100)
    for command_ in (("sql", trace, "kernels"), ("explain", trace), ("timeline", trace, "-o", tmp_path / "t.svg")):
        refused(knnscope(*command_), "beside it holds changes that are not in the file")
    assert sorted(os.listdir(trace.parent)) == sorted([trace.name, beside.name])


def test_cells_of_csv_are_no_formulas(knnscope: Run, trace: Path) -> None:
    question = "SELECT '=1+1' AS \"=a\", '+x' AS b, '-x' AS c, '@x' AS d, -5 AS e, '-5' AS f, 'a=b' AS g"
    assert knnscope("sql", trace, question, "--format", "csv")[1] == "'=a,b,c,d,e,f,g\n'=1+1,'+x,'-x,'@x,-5,'-5,a=b\n"
    raw = knnscope("sql", trace, question, "--format", "csv", "--raw-cells")[1]
    assert raw == "=a,b,c,d,e,f,g\n=1+1,+x,-x,@x,-5,-5,a=b\n"
