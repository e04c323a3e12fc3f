"""knnscope report: a page, Markdown, CSV or charts from a run's folder; what cannot be read is one line; compare and ladder write their page."""

from __future__ import annotations

import csv
import html
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from knnscope import analysis
from knnscope.analysis.run import ComparisonRun, save
from knnscope.api import reporting
from knnscope.api.comparing import DISAGREEING
from knnscope.errors import MissingLibraryError
from knnscope.report.page import html as page_html
from tests.cli.conftest import Compare, Run, refused

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "fixtures" / "runs" / "compare-sample"
ABSENT = (
    "faiss",
    "usearch",
    "sklearn",
    "onnxruntime",
    "onnx",
    "torch",
    "cupy",
    "cuvs",
    "flashlib",
    "pytrec_eval",
    "llvmlite",
    "altair",
    "knnscope.datasets",
    "knnscope.encoders",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "run"))


def test_the_page_lies_beside_the_run_or_where_it_is_asked_for(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    code, out, err = knnscope("report", folder)
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder / 'report.html'}: ")
    page = (folder / "report.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert knnscope("report", folder, "-o", tmp_path / "deep" / "x.HTML")[0] == 0
    assert (tmp_path / "deep" / "x.HTML").read_text("utf-8") == page, "the same files, the same page"
    assert knnscope("report", folder, "-o", tmp_path / "x.md")[0] == 0
    assert (tmp_path / "x.md").read_text("utf-8").startswith("# sample: 240 x 384 float32")
    assert knnscope("report", folder, "-o", tmp_path / "x.csv")[0] == 0
    with (tmp_path / "x.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len((folder / "results.jsonl").read_text().splitlines())


def test_charts_are_files(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = knnscope("report", folder, "--charts", tmp_path / "a", "--format", "svg")
    assert code == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"latency-host-k10.svg", "throughput-host-k10.svg", "roofline.svg", "memory-host.svg"} <= names
    assert all(path.read_text("utf-8").startswith("<svg") for path in (tmp_path / "a").iterdir())
    assert f"{len(names)} files" in out
    assert not (folder / "report.html").exists()
    for path in reporting.draw(reporting.read(folder), tmp_path / "b", ["png"]):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_what_does_not_go_together_is_refused(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    refused(
        knnscope("report", folder, "-o", tmp_path / "x.pdf"), r"x\.pdf: file name must end in \.html, \.md or \.csv"
    )
    refused(knnscope("report", folder, "--format", "png"), "--format is that of --charts")
    refused(
        knnscope("report", folder, "--charts", tmp_path / "c", "--format", "gif"), "--format 'gif': png, svg or both"
    )
    refused(knnscope("report", folder, "--charts", tmp_path / "c", "-o", "x.md"), "--charts writes no page")
    refused(knnscope("report", tmp_path / "none"), "none: no such folder")
    refused(knnscope("report", tmp_path), "holds no results.jsonl")
    refused(knnscope("report"), "DIR")


DAMAGE = {
    "results.jsonl": (b'{"schema_version": 1', b"\xff\xfe", b"", b"[]\n", b'{"engine": "a"}\n'),
    "environment.json": (b"{", b"[1]", b'{"other_cores": "many"}', b'{"geometry": 3}'),
    "run.json": (b"{", b'{"command": "other"}', b'{"command": "compare", "queries": -1}', b'{"command": "ladder"}'),
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, many in DAMAGE.items() for content in many])
def test_a_damaged_folder_is_one_line(knnscope: Run, folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    refused(knnscope("report", folder), name)
    assert not (folder / "report.html").exists()


def test_two_runs_are_what_changed(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = knnscope("report", SAMPLE, folder)
    assert code == 0
    assert out.startswith(f"{folder / 'changes.html'}: ")
    assert "Row by row" in (folder / "changes.html").read_text("utf-8")
    refused(
        knnscope("report", SAMPLE, SAMPLE, folder), f"{SAMPLE} and {SAMPLE}: the same run twice: name each run once"
    )
    refused(knnscope("report", SAMPLE, folder, "--charts", tmp_path), "--charts draws one run")


def test_several_later_runs_are_judged_together(knnscope: Run, folder: Path, tmp_path: Path) -> None:
    run = analysis.load(SAMPLE)
    assert isinstance(run, ComparisonRun)
    for number in (1, 2, 3):
        rows = [structs.replace(row, reason=f"{number}") if row.reason else row for row in run.rows]
        save(replace(run, rows=(*rows[number:], *rows[:number])), tmp_path / f"{number}")
    code, out, _ = knnscope(
        "report", SAMPLE, "--later", tmp_path / "1", tmp_path / "2", "--later", tmp_path / "3", "-o", tmp_path / "x.md"
    )
    assert (code, out[: len(f"{tmp_path}")]) == (0, f"{tmp_path}")
    assert "3 later runs" in (tmp_path / "x.md").read_text("utf-8")
    code, out, _ = knnscope("report", SAMPLE, "--later", tmp_path / "1", tmp_path / "2")
    assert out.startswith(f"{tmp_path / '1' / 'changes.html'}: ")
    refused(knnscope("report", SAMPLE, "--later", folder, folder), f"{SAMPLE} and {folder}: the same run twice")
    refused(knnscope("report", SAMPLE, "--later", tmp_path / "1", "--charts", tmp_path), "--charts draws one run")


def test_a_trace_is_a_page_and_has_no_rows(knnscope: Run, tmp_path: Path) -> None:
    from tests.trace.fixtures import unpacked

    path = unpacked("cupti-gemm", tmp_path)
    assert knnscope("report", path)[0] == 0
    assert "What the traces say" in (tmp_path / "report.html").read_text("utf-8")
    refused(knnscope("report", tmp_path, "-o", tmp_path / "x.csv"), "holds traces, which have no rows")


@pytest.mark.usefixtures("pages")
def test_compare_writes_its_page(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    code, out, err = compare(vectors, "--engines", "numpy,sklearn", "--batch", 1)
    assert code == 0, err
    assert "results.jsonl, environment.json, run.json, verdict.json, report.html" in out
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "sklearn" in page


@pytest.mark.usefixtures("encoded", "pages")
def test_queries_on_which_engines_disagree_are_saved_with_their_texts(compare: Compare, tmp_path: Path) -> None:
    code, _, err = compare("sample", "--engines", "numpy,WrongIds", "--batch", 10)
    assert code == 0, err
    run = analysis.load(tmp_path / "out")
    assert isinstance(run, ComparisonRun)
    wrong = {row.evidence.query for row in run.rows if row.grade == "wrong" and row.evidence is not None}
    assert 1 <= len(run.facts.disagreeing) <= DISAGREEING
    assert len(run.facts.disagreeing) >= min(len(wrong), DISAGREEING)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for one in run.facts.disagreeing:
        assert one.differences
        assert one.query is not None
        assert one.query in html.unescape(page)
    assert "WrongIds is wrong at batch 10" in page


@pytest.mark.usefixtures("pages")
def test_where_a_library_is_missing_compare_says_so_and_goes_on(
    compare: Compare, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise MissingLibraryError("jinja2 is not installed: pip install jinja2")

    monkeypatch.setattr(page_html, "require", missing)
    code, out, err = compare(vectors, "--engines", "numpy", "--batch", 1)
    assert code == 0
    assert "fastest exact: numpy" in out
    (note,) = [line for line in err.splitlines() if "jinja2" in line]
    assert note == (
        f"note: no page to decide from: jinja2 is not installed: pip install jinja2; then knnscope report {tmp_path / 'out'} writes the page"
    )
    assert not (tmp_path / "out" / "report.html").exists()


def test_no_engine_s_library_is_loaded(tmp_path: Path) -> None:
    code = (
        f"import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
        f"sys.argv = ['knnscope', 'report', {str(SAMPLE)!r}, '-o', {str(tmp_path / 'x.html')!r}]\n"
        "from knnscope import cli\nsys.exit(cli.run())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.html").stat().st_size < 3e6
