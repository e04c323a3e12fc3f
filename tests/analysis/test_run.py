"""A run that was saved is the run that was measured, whatever its rows; whatever a file holds, it is read or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope import analysis
from knnscope.analysis import jsonl
from knnscope.analysis import run as runs
from knnscope.analysis.measurement import SCHEMA_VERSION, Measurement, RungMeasurement, to_dict
from knnscope.analysis.run import CompareFacts, ComparisonRun, LadderFacts, LadderRun
from knnscope.analysis.side_by_side import Differs, Document, Found, SideBySide
from knnscope.api.comparing import Comparison
from knnscope.errors import KnnscopeError
from knnscope.report import comparison, ladder
from knnscope.report.html import comparison_html, ladder_html
from tests.analysis.test_verdict import failed, rows
from tests.report.test_comparison import GEOMETRY

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"

ANSWERS = SideBySide(
    dataset="made up",
    metric="l2",
    query_id="q1",
    query="of what?",
    reference="a",
    engines={"a": Found((3, 1), (0.5, 1.0)), "b": Found((3, 2), (0.5, "inf"))},
    documents=[
        Document(3, "d3", "words", 1, 1),
        Document(1, "d1", "more"),
        Document(2, "d2", ""),
        Document(9, "d9", "x", 2, 7),
    ],
    differences=[Differs("b", 2, 2, 1, "inf", 1.0)],
)
EVERY = rows("a", 100) + rows("b", 200, "wrong", event_us=5.0) + rows("c", 90, "float32") + failed("d", "oom")
RUNGS = [
    RungMeasurement(
        schema_version=SCHEMA_VERSION, rung=name, changed="x", dataset="y", rows=9, dim=2, k=1, device="cpu", **more
    )
    for name, more in (
        ("a", {"status": "ok", "grade": "exact", "wall_ns": 5, "ratio_below": 1.5, "note": "n", "scaled": True}),
        ("b", {"status": "no-gpu", "reason": "none here"}),
        ("c", {"status": "crashed", "reason": "so"}),
    )
]
COMPARED = ComparisonRun(
    tuple(EVERY),
    {"geometry": GEOMETRY, "other_cores": 0.5, "options": {"seed": 1}},
    CompareFacts(queries=4, held_out=True, answers=ANSWERS, interrupted=True, notes=("a note",)),
)
CLIMBED = LadderRun(tuple(RUNGS), LadderFacts(dataset="y", rows=9, dim=2, k=1, device="cpu"), {"ceilings": {}})


@pytest.mark.parametrize("run", [COMPARED, CLIMBED, LadderRun((), CLIMBED.facts)])
def test_a_saved_run_is_the_run(run: Any, tmp_path: Path) -> None:
    saved = runs.save(run, tmp_path / "out")
    assert saved.folder == tmp_path / "out"
    assert analysis.load(tmp_path / "out") == saved
    assert analysis.load(str(tmp_path / "out")) == saved
    assert {p.name for p in saved.folder.iterdir()} <= set(runs.FILES)


def test_a_run_without_its_facts_says_what_its_rows_say(tmp_path: Path) -> None:
    runs.save(COMPARED, tmp_path / "a")
    runs.save(CLIMBED, tmp_path / "b")
    for name in "ab":
        (tmp_path / name / "run.json").unlink()
    compared, climbed = analysis.load(tmp_path / "a"), analysis.load(tmp_path / "b")
    assert isinstance(compared, ComparisonRun)
    assert isinstance(climbed, LadderRun)
    assert (compared.rows, compared.facts.queries, compared.facts.answers) == (COMPARED.rows, None, None)
    assert "queries held out" not in comparison.text(compared)
    assert climbed.facts == CLIMBED.facts


def test_only_a_run_that_has_a_folder_writes_its_facts_anew(tmp_path: Path) -> None:
    assert runs.save_facts(COMPARED) is COMPARED
    assert not list(tmp_path.iterdir())


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["exact", "wrong", "ok", "interrupted", "no-gpu", "hot", "device", "cuda"]),
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3),
    st.just({}),
)


@given(
    st.lists(
        st.tuples(st.integers(0, len(EVERY) - 1), st.sampled_from(list(Measurement.__struct_fields__)), VALUES),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_rows_of_compare_hold_they_are_printed_or_refused(changes: list[tuple[int, str, Any]]) -> None:
    lines = [to_dict(row) for row in EVERY]
    for place, name, value in changes:
        lines[place][name] = value
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            run = analysis.load(folder)
        except KnnscopeError as error:
            assert "results.jsonl:" in str(error)
            return
    assert isinstance(run, ComparisonRun)
    assert comparison.text(run)
    assert comparison_html(run)


@given(st.sampled_from(list(RungMeasurement.__struct_fields__)), st.integers(0, 2), VALUES)
def test_whatever_rows_of_the_ladder_hold_they_are_printed_or_refused(name: str, place: int, value: Any) -> None:
    lines = [to_dict(row) for row in RUNGS]
    lines[place][name] = value
    with TemporaryDirectory() as where:
        folder = Path(where)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            run = analysis.load(folder)
        except KnnscopeError as error:
            assert "results.jsonl:" in str(error)
            return
    assert isinstance(run, LadderRun)
    assert ladder.text(run)
    assert ladder_html(run)


@given(st.sampled_from(list(SideBySide.__struct_fields__)), VALUES)
def test_whatever_answers_hold_they_are_printed_or_refused(name: str, value: Any) -> None:
    with TemporaryDirectory() as where:
        folder = Path(where)
        runs.save(COMPARED, folder)
        facts = json.loads((folder / "run.json").read_text())
        facts["answers"][name] = value
        (folder / "run.json").write_text(json.dumps(facts))
        try:
            run = analysis.load(folder)
        except KnnscopeError as error:
            assert "run.json" in str(error)
            return
    assert isinstance(run, ComparisonRun)
    assert comparison.text(run)


def test_a_line_without_an_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST", 100)
    (tmp_path / "results.jsonl").write_text("x" * 1000)
    with pytest.raises(KnnscopeError, match=r"results\.jsonl:1: a line of 100 bytes or more"):
        analysis.load(tmp_path)


def test_texts_of_html_are_escaped() -> None:
    evil = rows("<script>alert(1)</script>", 100)
    found = comparison_html(ComparisonRun(tuple(evil), {}, CompareFacts(queries=4)))
    assert "<script>" not in found
    assert "&lt;script&gt;" in found
    assert found.count("<table>") == found.count("</table>") == 1


@pytest.mark.parametrize("name", runs.FILES)
@pytest.mark.parametrize("content", ["", "mine", '{"engine": "combustion", "power": 3}', '[{"schema_version": 1}]'])
def test_what_others_wrote_is_not_replaced(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(
        KnnscopeError, match=rf"{name}: knnscope did not write it, and would write over it: choose another folder"
    ):
        runs.check_own(tmp_path)
    run = runs.load(RUNS / "compare-sample")
    with pytest.raises(KnnscopeError, match="choose another folder"):
        runs.save(run, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, content)]


@pytest.mark.parametrize("there", [COMPARED, CLIMBED, ComparisonRun(()), runs.load(RUNS / "compare-sample")])
def test_a_run_that_is_there_stays(tmp_path: Path, there: Any) -> None:
    """Whatever asks for its folder, by whatever name; it may be saved there once more itself."""
    runs.save(there, tmp_path / "run")
    (tmp_path / "link").symlink_to("run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for name in ("run", "link", "link/../run"):
        with pytest.raises(KnnscopeError, match="holds a run, which stays: choose another folder, or remove this one"):
            runs.new(tmp_path / name)
        with pytest.raises(KnnscopeError, match="holds a run"):
            Comparison(COMPARED).save(tmp_path / name)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_result_may_be_saved_where_it_lies(tmp_path: Path) -> None:
    found = Comparison(COMPARED)
    for _ in range(2):
        found.save(tmp_path)
        (tmp_path / runs.PAGE).write_text("its own")
    Comparison.load(tmp_path).save(tmp_path)
    assert (tmp_path / runs.PAGE).read_text() == "its own"
    assert runs.load(tmp_path) == found.run


@pytest.mark.parametrize("name", [runs.PAGE, runs.CHANGES, f"{runs.AGAIN}1", runs.BESIDE])
def test_what_a_run_would_write_later_is_looked_for_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(KnnscopeError, match=rf"{name}: is there, and a run would write over it"):
        runs.new(tmp_path)


def edited(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    change(lines)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.append(rows[1]), r"results.jsonl:8: measures the same as line 2: a run has each row once"),
        (lambda rows: rows[-1].update(dataset="other"), r"results.jsonl:7: dataset is not that of line 1"),
        (lambda rows: rows[2].update(rows=7), r"results.jsonl:3: rows is not that of line 1"),
        (lambda rows: rows[2].update(metric="ip"), r"results.jsonl:3: metric is not that of line 1"),
        (lambda rows: rows[2].update(threads=None), r"results.jsonl:3: threads is not that of line 1"),
        (lambda rows: rows[2].update(quick=True), r"results.jsonl:3: quick is not that of line 1"),
        (lambda rows: rows[1].update(median_ns=1000), r"results.jsonl:2: median_ns is 1,000, and .* by its samples"),
        (lambda rows: rows[1].update(samples_ns=[[7]]), r"results.jsonl:2: median_ns is .*, and 7 by its samples"),
    ],
)
def test_rows_that_no_run_has_beside_each_other_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    """A verdict would be of several data sets, of an engine against itself, or not of the times that the table shows."""
    runs.save(COMPARED, tmp_path)
    edited(tmp_path, change)
    with pytest.raises(KnnscopeError, match=said) as error:
        analysis.load(tmp_path)
    assert "\n" not in str(error.value)


def test_rungs_that_no_climb_has_beside_each_other_are_refused(tmp_path: Path) -> None:
    for change in (
        lambda rows: rows.append(rows[0]),
        lambda rows: rows[1].update(dim=3),
        lambda rows: rows[0].update(samples_ns=[9], visited=9),
    ):
        runs.save(CLIMBED, tmp_path)
        edited(tmp_path, change)
        with pytest.raises(KnnscopeError, match=r"results.jsonl:\d: "):
            analysis.load(tmp_path)
