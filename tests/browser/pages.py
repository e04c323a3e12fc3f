"""The pages that a browser opens: one line a page. ``tests/browser/test_every_page.py`` holds each of them to the same rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from knnscope import cli
from knnscope.analysis.run import save
from tests.analysis.two_runs import COSTS, drawn
from tests.trace.fixtures import unpacked

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def written_by(*arguments: str | Path) -> Callable[[Path], Path]:
    """A page that a command writes: knnscope with these arguments and -o FILE."""

    def make(folder: Path) -> Path:
        page = folder / "page.html"
        assert cli.main([*map(str, arguments), "-o", str(page)]) == 0
        return page

    return make


def timeline_of(name: str, *arguments: str) -> Callable[[Path], Path]:
    """The timeline of a recorded trace of tests/fixtures/traces."""

    def make(folder: Path) -> Path:
        return written_by("timeline", unpacked(name, folder), *arguments)(folder)

    return make


def of_a_trace(folder: Path) -> Path:
    """The page of a folder that holds a recorded trace and nothing else."""
    unpacked("cupti-cupy-loop-numpy-input", folder)
    return written_by("report", folder)(folder)


def of_two_runs(folder: Path) -> Path:
    """The page of what changed between two runs of which one engine got slower."""
    for name, run in (("a", drawn(1)), ("b", drawn(2, {**COSTS, "faiss": 2 * COSTS["faiss"]}))):
        save(run, folder / name)
    return written_by("report", folder / "a", folder / "b")(folder)


PAGES: dict[str, Callable[[Path], Path]] = {
    "report of a GPU run": written_by("report", RESULTS / "compare-gpu-75000"),
    "timeline of a loop": timeline_of("nsys-cupy-loop"),
    "timeline of one iteration": timeline_of("300-cupy-loop", "--around", "100"),
    "report of a CPU run": written_by("report", ROOT / "tests" / "fixtures" / "runs" / "compare-sample"),
    "report of a climb": written_by("report", RESULTS / "ladder-75000-k10"),
    "report of a trace": of_a_trace,
    "report of two runs": of_two_runs,
    "grades": written_by("report", RESULTS / "grades-cpu.json"),
}
"""By name, what makes the page in a folder that is empty, and returns its file. It runs once a session, without a network."""
