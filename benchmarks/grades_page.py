"""Writes docs/grades.md from benchmarks/results/grades-*.json, which knnscope grade --out wrote.

    python -m benchmarks.grades_page [--check]

--check writes nothing and exits with 1 where the page is not what the results say.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from knnscope.analysis import grades
from knnscope.analysis.grades import Grades
from knnscope.report import grades as report

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "grades.md"
FILES = {"cpu": "Processors", "gpu": "GPUs"}
"""By the second word of a file's name, in the order of the page."""
COMPUTE = ("numpy", "llvmlite", "faiss", "scikit-learn", "usearch", "cupy", "cuvs", "torch", "flashlib", "certex")
"""Libraries that engines compute with, by how their names begin."""
HEAD = """# Who answers exactly

Every engine on data on which exact searches go wrong. `knnscope grade` asks the engines of your machine the same questions; it takes some
minutes, and times nothing. Each answer is judged by the [definition](../knnscope/search/definition.py): float64 in a stated order, ties by the
smallest row number. `python -m benchmarks.grades_page` writes this page from `benchmarks/results/grades-*.json`; a test fails when it is stale.

A table has a mark for each engine, case and metric, or three where it depends on the batch size.

{legend}

Whether rounding exchanges two rows, and whether an engine is wrong on a case at all, may depend on processor, threads, batch size and BLAS.
[What of this page is held to](decisions/033-what-a-grade-is-held-to.md) by the tests does not.

The results below were recorded before `undecided` was told from float32: a `≈` at large norms, offsets or many components may be a `~` by now.

## The cases

{cases}
"""


def page() -> str:
    """The whole page."""
    runs = {path: grades.load(path) for path in sorted(RESULTS.glob("grades-*.json"), key=_place)}
    longest = max(runs.values(), key=lambda run: len(run.cases))
    parts = [HEAD.format(legend=report.marks_explained(), cases=report.cases(longest)).rstrip("\n")]
    for path, run in runs.items():
        parts += [f"## {_title(path)}", _about(path, run), report.markdown(run)]
    return "\n\n".join(parts) + "\n"


def _kind(path: Path) -> str:
    return path.stem.split("-")[1]


def _place(path: Path) -> tuple[int, str]:
    return list(FILES).index(_kind(path)), path.name


def _title(path: Path) -> str:
    rest = " ".join(path.stem.split("-")[2:])
    return FILES[_kind(path)] + (f": {rest}" if rest else "")


def _about(path: Path, run: Grades) -> str:
    """Machine, versions, and the command."""
    known = run.environment.get("libraries", {})
    versions = [f"{name} {version}" for name, version in known.items() if version and name.startswith(COMPUTE)]
    version, commit = run.environment.get("knnscope", ""), str(run.environment.get("commit") or "")
    commit = commit[:8] + ("+" if commit.endswith("+") else "")  # + marks a changed checkout
    where = f"`{path.name}`, {report.machine(run)}, Python {run.environment.get('python', '')}"
    return f"{where}; knnscope {version} {commit}, {', '.join(versions)}."


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if not args.check:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        print(f"{PAGE.name} is not what the results say: run python -m benchmarks.grades_page", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
