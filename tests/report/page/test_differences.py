"""The page of two runs: who got worse is in its first sentence, every row of the table is on it, with the interval that was told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from knnscope.analysis.change import changes
from knnscope.analysis.run import save
from knnscope.api import reporting
from knnscope.errors import KnnscopeError
from knnscope.report import change
from knnscope.report.page import charts, html, markdown
from knnscope.report.page.sections import differences
from tests.analysis.two_runs import COSTS, drawn
from tests.report.page.test_charts import assert_drawable
from tests.report.page.test_document import RUNS, tables

SLOWER = {**COSTS, "faiss": 2 * COSTS["faiss"]}


def test_who_got_worse_comes_first_and_every_row_is_there() -> None:
    found = changes(drawn(1), drawn(2, SLOWER))
    page = differences.document(found)
    assert page.lead == "1 of 5 rows are worse, or wrong, or gone."
    text = markdown.render(page)
    assert text.index("worse: faiss") < text.index("What differs around them") < text.index("Row by row")
    assert {row.engine for row in change.shown(found)} == set(COSTS)
    for table in list(tables(page))[:2]:
        assert len(table.lines) == len(COSTS)
    (drawn_chart,) = page.charts()
    told = {mark["engine"]: mark["right"] for mark in drawn_chart.data}
    assert told == {name: name == "faiss" for name in COSTS}
    assert {mark["line"] for mark in drawn_chart.data} == {f"{name}, 1 a call" for name in COSTS}
    assert all(mark["low"] <= mark["value"] <= mark["high"] for mark in drawn_chart.data)
    assert_drawable(charts.drawn(drawn_chart, None))
    assert html.render(page).count("<figure") == 1


def test_the_same_run_twice_is_not_worse_and_of_other_data_nothing_is_told() -> None:
    page = differences.document(changes(drawn(1), drawn(2)))
    assert page.lead == "Nothing was found to be worse."
    made = drawn(2)
    other = replace(made, rows=tuple(structs.replace(row, dataset="<script>") for row in made.rows))
    page = differences.document(changes(drawn(1), other))
    assert page.lead == "Nothing can be told of these runs."
    assert "&lt;script&gt;" in html.render(page)


def test_of_several_runs_the_page_says_how_many() -> None:
    found = changes([drawn(seed) for seed in range(1, 5)], drawn(5, SLOWER))
    page = differences.document(found)
    assert page.title == "4 earlier runs, the last run 4 (A) and the later run (B)"
    text = markdown.render(page)
    assert "held against 4 of 4 earlier runs" in text
    assert "over that in the earlier ones" in text
    (rows,) = (table for table in tables(page) if "tells from" in table.head)
    assert (rows.head[-1], {line[-1] for line in rows.lines}) == ("runs", {4})
    assert "held against 4 of 4 earlier runs" in html.render(page)


def test_of_several_later_runs_the_page_says_how_many() -> None:
    found = changes([drawn(seed) for seed in range(1, 5)], [drawn(seed, SLOWER) for seed in range(5, 8)])
    page = differences.document(found)
    assert page.title == "4 earlier runs, the last run 4 (A) and 3 later runs, the first later run 1 (B)"
    assert page.lead == "1 of 5 rows are worse, or wrong, or gone."
    (rows,) = (table for table in tables(page) if "tells from" in table.head)
    assert rows.head[-2:] == ("runs", "later runs")
    assert {line[-2:] for line in rows.lines} == {(4, 3)}
    assert "judged by 3 of 3 later runs" in html.render(page)


def test_what_was_measured_again_is_read_with_the_run(tmp_path: Path) -> None:
    for name, run in (("a", drawn(1)), ("b", drawn(2)), ("b/again-1", drawn(3)), ("b/again-2", drawn(4))):
        save(run, tmp_path / name)
    page = reporting.write_changes(tmp_path / "a", tmp_path / "b", tmp_path / "x.md").read_text("utf-8")
    assert "judged by 3 of 3 later runs" in page


def test_it_is_written_as_html_markdown_and_csv(tmp_path: Path) -> None:
    for name, run in (("a", drawn(1)), ("b", drawn(2, SLOWER)), ("c", drawn(3))):
        save(replace(run, rows=tuple(structs.replace(row, dataset="<script>") for row in run.rows)), tmp_path / name)
    for ending in ("html", "md", "csv"):
        path = reporting.write_changes(tmp_path / "a", tmp_path / "b", tmp_path / f"x.{ending}")
        assert "faiss" in path.read_text("utf-8")
        assert "<script>\n" not in path.read_text("utf-8")
        several = reporting.write_changes([tmp_path / "c", tmp_path / "a"], tmp_path / "b", tmp_path / f"y.{ending}")
        assert ("earlier" if ending == "csv" else "held against 2 of 2 earlier runs") in several.read_text("utf-8")
        later = reporting.write_changes(tmp_path / "c", [tmp_path / "a", tmp_path / "b"], tmp_path / f"z.{ending}")
        assert ("later" if ending == "csv" else "judged by 2 of 2 later runs") in later.read_text("utf-8")
    climb = next(path for path in RUNS if "ladder" in path.name)
    with pytest.raises(KnnscopeError):
        reporting.write_changes(tmp_path / "a", climb, tmp_path / "y.html")
