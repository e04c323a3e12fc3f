"""Pages that are generated or quote results say what the results say."""

from __future__ import annotations

import ast
import json
import lzma
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import figures_page, grades_page, ladder_page, predictions
from knnscope import analysis
from knnscope.search import ladder
from pages import __main__ as program
from pages import results, written

ROOT = Path(__file__).resolve().parents[2]
ERRATA = (ROOT / "docs" / "notebook-errata.md").read_text("utf-8")
QUOTED = re.findall(r"```sql\n-- (\S+)\n(.*?)```\n\n```text\n(.*?)```", ERRATA, re.S)


@pytest.mark.parametrize("name", written.WRITTEN)
def test_what_a_program_writes_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == written.WRITTEN[name](), "run ./dev pages"


def test_what_is_stale_is_found_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(written, "ROOT", tmp_path)
    monkeypatch.setattr(written, "WRITTEN", {"a.md": lambda: "new", "b/c.md": lambda: "c"})
    (tmp_path / "a.md").write_text("old")
    assert written.stale() == ["a.md", "b/c.md"]
    monkeypatch.setattr("sys.argv", ["pages", "--check"])
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 1
    assert (tmp_path / "a.md").read_text() == "old"
    assert written.write() == ["a.md", "b/c.md"]
    assert (tmp_path / "b" / "c.md").read_text() == "c"
    assert written.stale() == []


def test_old_figures_in_the_readme_are_stale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text("utf-8").replace("866 µs", "865 µs"), "utf-8")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    assert results.readme() == (ROOT / "README.md").read_text("utf-8")
    (tmp_path / "README.md").write_text("# knnscope\n")
    with pytest.raises(ValueError, match=r"README\.md has no lines"):
        results.readme()


@pytest.mark.parametrize("module", [figures_page, grades_page, ladder_page], ids=lambda module: module.__name__)
def test_a_page_is_what_its_results_say(module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert module.PAGE.read_text("utf-8") == module.page(), f"run python -m {module.__name__}"
    stale = tmp_path / "stale.md"
    stale.write_text(module.page().replace("000", "001", 1), "utf-8")
    monkeypatch.setattr(module, "PAGE", stale)
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 1
    monkeypatch.setattr("sys.argv", ["page"])
    module.main()
    assert stale.read_text("utf-8") == module.page()


def test_an_excerpt_of_an_answer_is_what_was_measured() -> None:
    """Its verdicts are sentences of the saved run, its table has the medians of that run."""
    page = (ROOT / "docs" / "first-verdict.md").read_text("utf-8")
    run = json.loads((figures_page.RESULTS / "verdict-wordnet.json").read_text("utf-8"))["runs"][-1]
    quoted = re.findall(r"^(1?[0-9]+ quer(?:y|ies): .*)", page, re.M)
    assert len(quoted) >= 2
    assert set(quoted) <= set(run["sentences"])
    medians = {
        row["engine"]: figures_page.duration(row["median_ns"])
        for row in run["rows"]
        if (row["batch"], row["cache"]) == (1, "hot")
    }
    shown = re.findall(r"^(\w+) +(?:exact|float32 \(.*?\)) +\S+ \S+ +\S+ \S+ +(\S+ \S+)", page, re.M)
    assert len(shown) == 5
    assert all(medians[engine] == median for engine, median in shown)


def test_every_query_of_the_errata_is_found() -> None:
    assert len(QUOTED) == ERRATA.count("```sql") == 12


@pytest.mark.parametrize(("trace", "query", "printed"), QUOTED)
def test_the_errata_quote_what_their_traces_say(trace: str, query: str, printed: str) -> None:
    with closing(sqlite3.connect(":memory:")) as base:
        base.deserialize(lzma.decompress((ROOT / "tests/fixtures/traces" / f"{trace}.sqlite.xz").read_bytes()))
        found = base.execute(query)
        lines = [[column[0] for column in found.description], *([str(cell) for cell in row] for row in found)]
    assert [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()] == lines


def test_the_errata_agree_with_the_ladder_about_cuvs() -> None:
    """A quarter, nine tenths, and as long by the events."""
    ratios = {}
    for name in ladder_page.RUNS:
        rows = {row.rung: row for row in analysis.load(ladder_page.RESULTS / name).rows}
        fused, cuvs = rows["fused"], rows["cuvs"]
        ratios[name] = (fused.wall_ns / cuvs.wall_ns, fused.event_ns / cuvs.event_ns)
    for name in ("ladder-75000-k3", "ladder-75000-k10"):
        assert ratios[name][0] == pytest.approx(0.25, abs=0.03)
    assert ratios["ladder-1000000-k10"] == pytest.approx((0.9, 1), abs=0.03)


def test_the_errata_quote_what_was_measured() -> None:
    """The ladder's loops and copies, cuVS by rows, and cuVS for many queries."""
    loops, copied = [], []
    for name in ("ladder-75000-k3", "ladder-75000-k10"):
        rows = {row.rung: row for row in analysis.load(ladder_page.RESULTS / name).rows}
        loops.append(round(rows["cupy-loop"].wall_ns / rows["numpy-loop"].wall_ns))
        copied += [float(re.findall(r"([\d.]+) GB/s", rows[f"{kind}-bulk"].note)[0]) for kind in ("pageable", "pinned")]
    assert f"{min(loops)} to {max(loops)} times as long" in ERRATA
    assert sum(copied[::2]) / sum(copied[1::2]) == pytest.approx(1 / 5, abs=0.02)
    by_rows = {}
    for count in (75_000, 1_000_000):
        for row in analysis.load(ladder_page.RESULTS / f"compare-gpu-{count}").rows:
            if (row.engine, row.boundary, row.batch, row.k, row.cache) == ("cuvs", "device", 1, 3, "hot"):
                by_rows[count] = row.median_ns / 1e6
    less, more = by_rows[75_000], by_rows[1_000_000]
    fixed = less - 75_000 * (more - less) / 925_000
    assert f"takes {less:.2f} ms for 75,000 rows and {more:.2f} ms for 1,000,000" in ERRATA
    assert f"leaves {fixed:.2f} ms for no rows" in ERRATA
    many = json.loads((ladder_page.RESULTS / "certified-gpu-h200.json").read_text("utf-8"))["lines"]
    (batch,) = (line for line in many if (line["rows"], line["queries"]) == (75_000, 1_000))
    assert f"take it {batch['cuvs_us'] / 1e3:.2f} ms" in ERRATA


def test_predictions_are_those_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = predictions.page()
    assert predictions.PAGE.read_text("utf-8") == page, "run python -m benchmarks.predictions page"
    stale = tmp_path / "stale.md"
    stale.write_text(page.replace("75,000", "75,001", 1), "utf-8")
    monkeypatch.setattr(predictions, "PAGE", stale)
    monkeypatch.setattr("sys.argv", ["predictions", "page", "--check"])
    with pytest.raises(SystemExit) as end:
        predictions.main()
    assert end.value.code == 1


@pytest.mark.parametrize("shape", predictions.SHAPES[1:])
def test_four_steps_between_neighboring_rungs_came_true(shape: str) -> None:
    found = json.loads((predictions.RESULTS / f"{shape}.json").read_text())
    order = list(ladder.RUNGS)
    right = [
        step
        for step, predicted, measured in predictions.steps(found)
        if order.index(step.after) == order.index(step.before) + 1
        and predicted is not None
        and abs(predicted / measured - 1) <= predictions.OFF
    ]
    assert len(right) >= 4


PACKAGES = sorted(path for path in (ROOT / "knnscope").rglob("__init__.py") if path.parent.name != "knnscope")


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_package_says_what_goes_in_what_comes_out_and_where_to_start(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert len(said.splitlines()) <= 5
    assert re.search(r"\. In: .*\. Out: ", said.splitlines()[0])
    first = re.search(r"([Ss]tarts?\s+(with|in)|[Rr]ead)\s+([\w.]+\.py)", said)
    assert first is not None
    assert (path.parent / first[3]).is_file()
