"""Runs of compare --beside, one after the other: how often is a change told where there is none, and is a planted slowdown of 15% found?

    python benchmarks/planted_beside.py --beside PYTHON [--runs 20] [--folder DIR] [--out benchmarks/results/planted-change-beside.json]

PYTHON is another environment with the same versions of the same libraries, such as a new one with requirements/run.txt. Every run is measured twice:
as it is, and with numpy of this environment alone 15% slower (slower_numpy). What is in DIR is kept, and not measured again, and the
results are written after every run, so that a series that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

import knnscope
from knnscope import Changes, Comparison, environment
from knnscope.analysis import timed, turns
from knnscope.search import catalog
from knnscope.search.catalog import Entry

DATA = "synthetic:text,rows=5000,queries=200"
"""A quarter of planted_change's rows, and one engine, so that 40 runs take less than 45 minutes where others use the machine: by turns, no engine
is needed as a control."""
ENGINES = ("numpy",)
CHANGED = "numpy"
BATCH = 10
PLANTED = Entry("benchmarks.slower_numpy:SlowerEngine", "numpy", None, "numpy, 15% slower")


def main() -> None:
    """Measure, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", required=True, metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/planted-change-beside.json"))
    args = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {"nothing changed": [], "planted": []}
    with tempfile.TemporaryDirectory() as own:
        for number in range(args.runs):
            for what, found in runs.items():
                folder = (args.folder or Path(own)) / f"{number:02}-{what.replace(' ', '-')}"
                found.append(told(measured(folder, number, args.beside, what == "planted")))
                print(number, what, found[-1], flush=True)
                write(args.out, runs)
    print(json.dumps(summary(runs), indent=1))


def measured(folder: Path, number: int, beside: str, planted: bool) -> Comparison:
    """A run; one that is there already is read."""
    if (folder / "took.json").exists():
        return Comparison.load(folder)
    began = time.monotonic()
    with patch.dict(catalog.ENGINES, {CHANGED: PLANTED} if planted else {}):
        found = knnscope.compare(
            DATA, engines=ENGINES, batch=BATCH, beside=beside, threads=1, seed=2 * number + planted, out=folder
        )
    if found.interrupted:
        raise KeyboardInterrupt
    (folder / "took.json").write_text(json.dumps(time.monotonic() - began))
    return found


def told(found: Comparison) -> dict[str, Any]:
    """What is said of a run."""
    assert found.beside is not None
    assert found.folder is not None
    since = knnscope.changes(found.beside, found)
    (row,) = (row for row in hot(since) if row.engine == CHANGED)
    return {
        "outcomes": {row.engine: row.outcome for row in hot(since)},
        "ratio": round(row.ratio or 0, 3),
        "tells": {row.engine: round(row.tells or 0, 3) for row in hot(since)},
        "pairs": {row.engine: row.pairs for row in hot(since)},
        "spread of pairs": {name: round(float(np.std(some, ddof=1)), 3) for name, some in spreads(found).items()},
        "other cores": found.run.other_cores,
        "seconds": round(json.loads((found.folder / "took.json").read_text())),
    }


def hot(since: Changes) -> list[Any]:
    """The rows that are judged."""
    return [row for row in since.measurements if row.cache == "hot"]


def spreads(found: Comparison) -> dict[str, list[float]]:
    """Of each engine, what its pairs of processes say."""
    assert found.beside is not None
    before, after = (timed.rows(run) for run in (found.beside.run, found.run))
    return {
        key[0]: turns.pairs(timed.times(before[key])[0], timed.times(row)[0], row.together)
        for key, row in after.items()
        if key[4] == "hot"
    }


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How often each comes."""
    still, moved = runs["nothing changed"], runs["planted"]
    return {
        "data": DATA,
        "nothing changed": {
            "runs": len(still),
            "runs with a row that is worse": sum("worse" in run["outcomes"].values() for run in still),
            "runs with a row that is better": sum("better" in run["outcomes"].values() for run in still),
            **counts(still),
        },
        "planted": {
            "runs": len(moved),
            f"{CHANGED}, 15% slower": dict(Counter(run["outcomes"][CHANGED] for run in moved).most_common()),
            **counts(moved),
        },
        "minutes": round(sum(run["seconds"] for run in (*still, *moved)) / 60),
    }


def counts(some: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of either kind of run."""
    rows = Counter(outcome for run in some for outcome in run["outcomes"].values())
    return {
        "rows": dict(rows.most_common()),
        f"ratio of {CHANGED}, median": middle(run["ratio"] for run in some),
        "pairs of processes a row, mean": round(
            float(np.mean([n or 0 for run in some for n in run["pairs"].values()] or [0])), 1
        ),
        "a change of so many times would have been told, median": middle(
            t for run in some for t in run["tells"].values()
        ),
        "cores kept busy by other work, median": middle(run["other cores"] or 0 for run in some),
        "seconds a run, median": middle(run["seconds"] for run in some),
    }


def middle(values: Iterable[float]) -> float:
    """Their median; 0 of none."""
    return round(median([*values] or [0]), 3)


def write(out: Path, runs: dict[str, list[dict[str, Any]]]) -> None:
    """What there is until now."""
    facts = {"summary": summary(runs), "runs": runs, "environment": environment.collect(catalog.libraries())}
    out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
