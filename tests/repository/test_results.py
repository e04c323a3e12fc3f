"""What is kept in benchmarks/results can be read back, and names no machine's folders."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from knnscope import analysis
from knnscope.analysis import crossover, explained_crossings
from knnscope.report import crossover as report

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_rows_are_as_the_schema_says() -> None:
    found = sorted(RESULTS.rglob("results.jsonl"))
    assert len(found) >= 2
    for path in found:
        assert analysis.load(path.parent).rows


def test_a_crossing_that_was_measured_twice_is_the_same() -> None:
    """For each batch size: the intervals of the same change of the fastest engine overlap."""
    one, two = (
        explained_crossings.explained(crossover.load(RESULTS / f"crossover-cpu-{number}.json")) for number in (1, 2)
    )
    same = [
        (a, b)
        for a in one
        for b in two
        if a.fixed == b.fixed
        and (a.crossing.before, a.crossing.after) == (b.crossing.before, b.crossing.after)
        and a.crossing.told
        and b.crossing.told
    ]
    assert same
    assert all(a.crossing.low <= b.crossing.high and b.crossing.low <= a.crossing.high for a, b in same)


def test_the_page_of_crossings_quotes_its_results() -> None:
    page = (RESULTS.parents[1] / "docs" / "crossover.md").read_text("utf-8")
    said = {line for path in RESULTS.glob("crossover-*.json") for line in report.sentences(crossover.load(path))}
    quoted = re.findall(r"^((?:1?[0-9,]+ (?:query a call|queries a call|rows): |  (?=\w+ takes)).*)", page, re.M)
    assert len(quoted) >= 4
    assert set(quoted) <= said


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.*")), ids=lambda p: str(p.relative_to(RESULTS)))
def test_no_folder_of_a_machine_and_valid_json(path: Path) -> None:
    text = path.read_text("latin-1" if path.suffix == ".png" else "utf-8")
    assert not re.search(r"/(?:work|root|home|tmp)/", text)
    if path.suffix == ".json":
        json.loads(text)
