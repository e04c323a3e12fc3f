"""What a comparison looks like in words, for rows that no machine here makes."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.api.comparing import Comparison
from knnscope.report import comparison, html, markup
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up

GEOMETRY = {"smallest": 1, "median": 1, "largest": 1, "metric": "l2", "queries": 5, "alike": {"ip": 5}}


def run_of(rows: list[Measurement], environment: dict[str, Any] | None = None, **facts: Any) -> ComparisonRun:
    return ComparisonRun(tuple(rows), {"geometry": GEOMETRY, **(environment or {})}, CompareFacts(queries=4, **facts))


def test_what_is_printed_of_a_gpu_and_of_doubtful_figures() -> None:
    gpu = {"device": "cuda", "noise": 0.0}
    made = (
        made_up("far", 900, event_us=95, **gpu)
        + made_up("far", 100, boundary="device", event_us=90, **gpu)
        + made_up("near", 50, event_us=40, **gpu)
        + made_up("near", 45, boundary="device", event_us=40, **gpu)
        + made_up("cpu", 100, noise=0.0)
        + made_up("loud", 300, noise=0.9)
        + made_up("few", 500, "float32", noise=0.0)
    )
    for i, row in enumerate(made):
        if row.engine == "cpu":
            made[i] = replace(row, cores=3.4, stable=False, warmup_calls=50)
    text = comparison.text(run_of(made))
    assert "1 query a call, k = 10, from and to GPU memory" in text
    assert re.search(
        r"^far +10 +1 +500 µs +900 µs +800 µs +10\.0 µs +90\.0 µs +9\.00 times slower than cpu, 89% is transfer$",
        text,
        re.M,
    )
    assert re.search(r"^near .* 2\.00 times as fast as cpu$", text, re.M)
    assert re.search(r"^loud +exact .* too noisy to tell ", text, re.M)
    assert re.search(r"^few +float32 \(3 of 50 differ\) ", text, re.M)
    assert "kept 3.4 cores busy" not in text, "6 ms are too few to know"
    longer = [replace(row, samples_ns=[[1000 * w for w in walls] for walls in row.samples_ns]) for row in made]
    text_of_longer = comparison.text(run_of(longer, held_out=True))
    assert "cpu kept 3.4 cores busy at batch 1: more than its 2 threads" in text_of_longer
    assert "4 queries held out\n" in text_of_longer
    assert "still changing after the warm-up: cpu (batch 1)" in text
    assert re.search(r"^cpu +1 ns +unknown +unknown", text, re.M), "no peak was read"


def test_an_interval_has_its_unit() -> None:
    text = comparison.text(run_of(made_up("a", 100, noise=0.0)))
    assert re.search(r"^a +exact .* 100 µs +100 to 100 µs ", text, re.M)


def test_the_last_words() -> None:
    made = made_up("a", 100) + made_up("b", 200)
    quiet = comparison.verdict(run_of(made, {"other_cores": 0.1}))
    assert quiet.startswith("1 query: fastest exact: a, ")
    assert "\n" not in quiet
    disturbed = comparison.verdict(run_of(made, {"other_cores": 0.9}, interrupted=True)).splitlines()
    assert disturbed[1] == "other work kept 0.9 cores busy meanwhile: on an idle machine times and ranking may differ"
    assert disturbed[2].startswith("interrupted: ")
    alone = comparison.verdict(run_of(made, {"other_cores": 1.02})).splitlines()
    assert alone[1].startswith("other work kept 1 core busy meanwhile")


def test_engines_without_a_gpu_are_one_line() -> None:
    gpu = [row for name in ("cupy", "cuvs", "torch-cuda") for batch in (1, 10) for row in failed(name, "no-gpu", batch)]
    text = comparison.figures(run_of(made_up("a", 100) + gpu))
    assert [line for line in text.splitlines() if "cu" in line] == [
        "not measured: cupy, cuvs, torch-cuda: for a reason"
    ]
    text = comparison.figures(run_of(made_up("a", 100) + failed("x", "missing") + gpu))
    assert re.search(r"^  x +missing +for a reason$", text, re.M)
    assert "\nnot measured: cupy, cuvs, torch-cuda: for a reason" in text


def test_a_huge_run_is_short_in_a_notebook() -> None:
    """Its text gives all of it."""
    cases = [(1, k) for k in range(1, 26)] + [(batch, 1) for batch in range(2, markup.LINES + 6)]
    made = [
        replace(row, dataset="<b>" * 500, engine=f"{row.engine}<i>")
        for batch, k in cases
        for row in made_up("e0", 100, batch=batch, k=k, noise=0.0)
        if row.cache == "hot"
    ]
    found = Comparison(run_of(made))
    assert len(repr(found)) < 700
    assert repr(found).endswith(f"e0<i> at batch 1 and {len(cases) - 4} more>")
    page = found._repr_html_()
    assert page.count("<table>") == html.TABLES
    assert page.count("<tr>") == markup.LINES + 1 + 2 * (html.TABLES - 1)
    assert "<p>and 5 more tables; report(path) writes the whole page" in page
    assert "<p>and 5 more: rows() gives all</p>" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert max(map(len, page.split("</"))) < 5 * markup.PARAGRAPH
    assert str(found).count("queries a call") == markup.LINES + 4


def test_it_is_said_where_one_batch_was_asked_again_and_again() -> None:
    made = made_up("a", 100, batch=1) + made_up("a", 100, batch=3)
    assert [line for line in comparison.notes(made, 5) if "again" in line] == [
        "batch 3: every call asked the same queries again, since there are 5: an engine that keeps answers would be timed without searching; "
        "6 queries or more tell"
    ]
    assert not [line for queries in (6, None) for line in comparison.notes(made, queries) if "again" in line]


def test_a_grade_says_how_many_of_the_queries_it_rests_on() -> None:
    made = [replace(row, judged=30) for row in made_up("a", 100)]
    for queries, said in ((1000, "exact (30 of 1,000 queries)"), (30, "exact"), (None, "exact")):
        (table,) = comparison.tables(ComparisonRun(tuple(made), {}, CompareFacts(queries=queries)))
        assert table.lines[0][1] == said
    differ = [replace(row, grade="float32", judged=30, differing=2) for row in made]
    (table,) = comparison.tables(ComparisonRun(tuple(differ), {}, CompareFacts(queries=1000)))
    assert table.lines[0][1] == "float32 (2 differ; 30 of 1,000 queries)"


def test_what_timing_takes_and_floors_are_said_without_an_exponent() -> None:
    made = [replace(row, overhead_ns=20_000, floor_ns=20) for row in made_up("a", 10, noise=0.0)]
    assert "timing itself takes 20.0 µs, at most 200% of any time above" in comparison.notes(made)
    text = comparison.text(run_of(made))
    assert "0.2% read" in text
