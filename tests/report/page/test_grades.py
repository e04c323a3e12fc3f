"""The page of a record of knnscope grade."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from knnscope.analysis import grades
from knnscope.analysis.contents import Contents, contents
from knnscope.errors import KnnscopeError
from knnscope.report.page import html
from knnscope.report.page.content import Grid, Heading
from knnscope.report.page.document import document

RECORDS = sorted((Path(__file__).resolve().parents[3] / "benchmarks" / "results").glob("grades-*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_engine_case_and_outcome_is_there(path: Path) -> None:
    run = grades.load(path)
    page = document(contents(path))
    (summary,) = (block.table for block in page.head if isinstance(block, Grid))
    assert {str(line[0]) for line in summary.lines} == {e.name for e in run.engines}
    for line in summary.lines:
        told = dict(zip(summary.head, line, strict=True))
        counts = run.counts(str(line[0]))
        assert all((told.get(outcome) or 0) == count for outcome, count in counts.items())
    (cases,) = (section for section in page.sections if section.name == "cases")
    tables = [block.table for block in cases.blocks if isinstance(block, Grid)]
    assert len(tables) == len(run.metrics) == sum(isinstance(block, Heading) for block in cases.blocks)
    assert all([line[0] for line in table.lines] == [case.name for case in run.cases] for table in tables)
    exact = [e.name for e in run.engines if not {"float32", "wrong"} & {o for o, n in run.counts(e.name).items() if n}]
    assert all(name in page.lead for name in exact)
    assert len(html.render(page)) < 3_000_000


def test_words_of_engines_are_texts() -> None:
    evil = "<script>alert(1)</script>"
    run = replace(grades.load(RECORDS[0]), absent={evil: evil}, interrupted=True)
    page = html.render(document(Contents(None, None, {}, grades=run)))
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Stopped before all was asked" in page


def test_another_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text("[]")
    with pytest.raises(KnnscopeError, match=r"some\.json"):
        contents(path)
