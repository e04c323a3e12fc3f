"""The page of a run: every engine is on it, its figures are those of the rows, whatever the run's age; it stays small."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from knnscope.analysis import crossover
from knnscope.analysis.contents import Contents, contents, of_run
from knnscope.analysis.measurement import FAILED, Measurement, RungMeasurement, to_dict
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.analysis.side_by_side import Document as Found
from knnscope.analysis.side_by_side import Found as Answer
from knnscope.analysis.side_by_side import SideBySide
from knnscope.analysis.verdict import splits
from knnscope.errors import KnnscopeError
from knnscope.report import crossover as crossover_text
from knnscope.report.page import html, markdown
from knnscope.report.page.content import Block, Chart, Charts, Document, Engine, Folded, Grid, Listed, Number
from knnscope.report.page.document import document
from knnscope.report.text import Table
from knnscope.units import duration
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up
from tests.report.test_comparison import run_of
from tests.trace.fixtures import unpacked

ROOT = Path(__file__).resolve().parents[3]
RUNS = sorted(path.parent for path in (ROOT / "benchmarks" / "results").rglob("results.jsonl"))
SAMPLE = ROOT / "tests" / "fixtures" / "runs" / "compare-sample"
MB = 10**6
ORDER = (
    *(
        "speed",
        "crossover",
        "floor",
        "quality",
        "correctness",
        "causes",
        "traces",
        "memory",
        "environment",
        "method",
        "rows",
    ),
)
every_run = pytest.mark.parametrize("folder", [*RUNS, SAMPLE], ids=lambda path: path.name)


def grids(blocks: Sequence[Block]) -> Iterator[Table]:
    """All tables, those of charts among them."""
    for block in blocks:
        if isinstance(block, (Grid, Chart)):
            yield block.table
        elif isinstance(block, Charts):
            yield from (chart.table for chart in block.charts)
        elif isinstance(block, Folded):
            yield from grids(block.blocks)


def tables(page: Document) -> Iterator[Table]:
    yield from grids(page.head)
    for section in page.sections:
        yield from grids(section.blocks)


def known(rows: Sequence[Measurement | RungMeasurement]) -> set[str]:
    """Every duration that a row has, or that follows from rows, as it is printed."""
    found: set[int] = set()
    for row in rows:
        found |= {value for name, value in to_dict(row).items() if name.endswith("_ns") and isinstance(value, int)}
    measured = [row for row in rows if isinstance(row, Measurement)]
    for split in splits(measured):
        found |= {split.first_ns, split.host_ns, split.transfer_ns, split.launch_ns, split.compute_ns}
    return {duration(value) for value in found}


@every_run
def test_every_engine_is_on_the_page_and_every_time_is_that_of_a_row(folder: Path) -> None:
    found = contents(folder)
    assert found.run is not None
    page = document(found)
    names = {row.engine if isinstance(row, Measurement) else row.rung for row in found.run.rows}
    shown = {str(cell) for table in tables(page) for line in table.lines for cell in line if isinstance(cell, Engine)}
    whole = markdown.render(page)
    for name in names:
        assert name in shown or re.search(rf"not measured: .*\b{re.escape(name)}\b", whole), name
    times = known(found.run.rows)
    of_machine = {"environment", "method"}
    checked = 0
    for section in page.sections:
        if section.name in of_machine:
            continue
        for table in grids(section.blocks):
            for line in table.lines:
                for cell in line:
                    if re.fullmatch(r"[\d,.]+ (ns|µs|ms|s)", str(cell)):
                        assert str(cell) in times, (section.name, line)
                        checked += 1
    assert checked > 10


@every_run
def test_it_is_one_small_file_with_every_section_in_order(folder: Path) -> None:
    page = document(contents(folder))
    text = html.render(page)
    assert len(text.encode()) < 3 * MB
    names = [section.name for section in page.sections]
    places = [text.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places)
    if "ladder" not in folder.name:
        assert names == [name for name in ORDER if name in names]
        assert {"speed", "floor", "quality", "correctness", "memory", "environment", "method", "rows"} <= set(names)
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text.partition("<body>")[2].partition("<script>")[0])
    assert f"<title>{page.title}</title>" in text
    assert markdown.render(page).startswith("# ")


def test_a_run_of_hundreds_of_cases_with_texts_stays_below_three_megabytes() -> None:
    made: list[Measurement] = []
    for number in range(14):
        for batch in (1, 3, 10, 30, 100, 300, 1000):
            for k in (1, 10, 100):
                made += made_up(f"engine-{number}", 100 * batch**0.5 + number, batch=batch, k=k, noise=0.02)
    text = "a long text " * 500
    rows = tuple(range(100))
    one = SideBySide(
        dataset="d",
        metric="l2",
        query_id="q",
        query=text,
        reference="a",
        engines={"a": Answer(rows, tuple(map(float, rows)))},
        documents=[Found(row, f"d{row}", text) for row in rows],
        differences=[],
    )
    run = ComparisonRun(tuple(made), {}, CompareFacts(disagreeing=(one,) * 8))
    page = document(of_run(run))
    assert len(html.render(page).encode()) < 3 * MB
    shown = {str(cell) for table in tables(page) for line in table.lines for cell in line if isinstance(cell, Engine)}
    assert shown >= {f"engine-{number}" for number in range(14)}


def test_doubtful_runs_have_a_banner_and_good_ones_none() -> None:
    good = made_up("a", 100, noise=0.0) + made_up("b", 200, noise=0.0)
    cases = {
        "quick": run_of([replace(row, quick=True) for row in good]),
        "interrupted": run_of(good, interrupted=True),
        "other work kept": run_of(good, {"other_cores": 1.5}),
        "withheld the processor": run_of(good, {"before": {"throttled_usec": 5}, "after": {"throttled_usec": 900}}),
        "held back by its temperature": run_of(good, {"after": {"gpus": [{"throttle_reasons": "0x0000000000000020"}]}}),
        "too noisy to tell": run_of(made_up("a", 100, noise=0.9)),
        "without figures, in part or in all: c (crashed)": run_of(good + failed("c", "crashed")),
        "at most 5 rounds": run_of(made_up("a", 100, rounds=5, of=5, noise=0.0)),
    }
    assert 'class="warning"' not in html.render(document(of_run(run_of(good))))
    for said, run in cases.items():
        text = markdown.render(document(of_run(run)))
        (banner,) = [line for line in text.splitlines() if line.startswith("> Read with care")]
        assert said in banner, banner


def test_only_states_that_were_timed_are_explained_and_have_a_column() -> None:
    row = made_up("a", 100, noise=0.0)[0]
    states = [replace(row, cache=cache, batch=batch) for cache in ("first", "cold", "hot") for batch in (1, 10)]
    for there in (("first", "cold", "hot"), ("first", "hot"), ("hot",)):
        page = document(of_run(run_of([state for state in states if state.cache in there])))
        text = markdown.render(page)
        assert ("an upright stroke" in text) == ("cold" in there)
        assert ("a small ring" in text) == ("first" in there)
        drawn = [chart.table.head for chart in page.charts() if chart.form == "states"]
        assert drawn == [("engine", *there)] * 2
        assert {chart.table.head for chart in page.charts() if chart.form == "lines"} == {
            ("engine", "1 a call", "10 a call")
        }


def test_the_environment_says_what_is_not_there_and_bytes_of_what_is() -> None:
    environment = {
        "libraries": {"torch": None, "numpy": "2"},
        "gpus": [],
        "memory": {"total": 1 << 20, "limit": None},
        "cpu": {"caches": {"L2": 524288}, "vector_instructions": ["avx", "fma"]},
        "options": {"quick": True},
    }
    text = html.render(document(of_run(run_of(made_up("a", 100), environment))))
    for name, said in {
        "libraries.torch": "not installed",
        "libraries.numpy": "2",
        "gpus": "none",
        "memory.total": "1,048,576 bytes",
        "memory.limit": "none",
        "cpu.caches.L2": "524,288 bytes",
        "cpu.vector_instructions": "avx, fma",
        "options.quick": "yes",
    }.items():
        assert f"<dt>{name}</dt><dd>{said}</dd>" in text


@pytest.mark.parametrize(
    "bad", [None, 3, [], "x", {"gpus": 3}, {"gpus": [3, {"throttle_reasons": "zz"}]}, {"throttled_usec": "x"}]
)
def test_an_environment_of_any_kind_does_no_harm(bad: object) -> None:
    environment = {
        "before": bad,
        "after": bad,
        "cpu": bad,
        "memory": bad,
        "gpus": bad,
        "libraries": bad,
        "options": bad,
    }
    run = run_of(made_up("a", 100), environment)
    assert "## Environment" in markdown.render(document(of_run(run)))


def test_a_run_in_which_nothing_was_measured_has_a_page() -> None:
    run = run_of(failed("a", "crashed") + failed("b", "missing"))
    text = markdown.render(document(of_run(run)))
    assert "No engine gave an answer known to be right" in text
    assert "for a reason" in text
    assert "<h1" in html.render(document(of_run(run)))


def test_queries_on_which_engines_disagree_are_there_with_their_texts() -> None:
    one = SideBySide(
        dataset="d",
        metric="l2",
        query_id="q7",
        query="what <is> it",
        reference="a",
        engines={"a": Answer((1, 2), (0.5, 1.0)), "b": Answer((2, 1), (1.0, 0.5))},
        documents=[Found(1, "one", "the first text"), Found(2, "two", "the second text")],
        differences=[],
    )
    run = run_of(made_up("a", 100) + made_up("b", 90, "wrong"), disagreeing=(one,))
    text = html.render(document(of_run(run)))
    assert "what &lt;is&gt; it" in text
    assert "the second text" in text
    assert "b is wrong at batch 1, k = 10, on 4 of 50 queries" in text


def test_what_lies_in_the_folder_beside_the_run_is_shown(tmp_path: Path) -> None:
    for name in ("results.jsonl", "environment.json"):
        shutil.copy(RUNS[0] / name, tmp_path / name)
    unpacked("cupti-cupy-loop-numpy-input", tmp_path)
    (tmp_path / "broken.sqlite").write_bytes(b"no trace")
    (tmp_path / "old.json").write_text('{"bounds": [], "findings": 3}')
    (tmp_path / "other.json").write_text('{"anything": 1}')
    (tmp_path / "list.json").write_text("[1, 2]")
    text = html.render(document(contents(tmp_path)))
    assert "launch-bound" in text
    assert "data:image/png;base64," in text
    assert "broken.sqlite" in text
    assert "old.json: not an explanation that knnscope explain --json wrote" in text
    assert "other.json" not in text
    assert "list.json" not in text


def test_a_folder_of_traces_alone_is_a_page(tmp_path: Path) -> None:
    path = unpacked("cupti-cupy-loop-numpy-input", tmp_path)
    for where in (tmp_path, path):
        page = document(contents(where))
        assert (
            page.lead.startswith("Begin with launch-bound in search cupy-loop-numpy-input: ")
            or "would save about" in page.lead
        )
        assert "would save" in markdown.render(page)
    assert isinstance(contents(path), Contents)


def test_a_number_in_the_raw_rows_is_the_row_s() -> None:
    found = contents(SAMPLE)
    assert found.run is not None
    (table,) = [t for section in document(found).sections if section.name == "rows" for t in grids(section.blocks)]
    assert len(table.lines) == len(found.run.rows)
    median = table.head.index("median")
    for line, row in zip(table.lines, found.run.rows, strict=True):
        assert isinstance(row, Measurement)
        cell = line[median]
        assert (cell.value if isinstance(cell, Number) else None) == row.median_ns
        assert (row.status in FAILED) == (cell == "")


SEARCHED = ROOT / "benchmarks" / "results" / "crossover-cpu-1.json"


def test_what_crossover_found_is_on_the_page_of_a_run_and_on_its_own(tmp_path: Path) -> None:
    run = crossover.load(SEARCHED)
    said = [line.strip() for line in crossover_text.sentences(run)]
    assert len(said) > 3
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(SEARCHED, alone / crossover.FILE)
    beside = tmp_path / "beside"
    shutil.copytree(SAMPLE, beside)
    shutil.copy(SEARCHED, beside / crossover.FILE)
    for folder in (alone, beside):
        page = document(contents(folder))
        (section,) = (part for part in page.sections if part.name == "crossover")
        lines = [line.strip() for block in section.blocks if isinstance(block, Listed) for line in block.lines]
        assert lines == said
        text = html.render(page)
        assert all(f"{row.rows:,}" in text for probe in run.probes for row in probe.measurements)
    assert document(contents(SAMPLE)).title == document(contents(beside)).title


def test_a_damaged_search_is_one_line(tmp_path: Path) -> None:
    (tmp_path / crossover.FILE).write_text('{"question": 1}')
    with pytest.raises(KnnscopeError, match=crossover.FILE):
        contents(tmp_path)
