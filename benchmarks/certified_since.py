"""Certified search of this checkout against that of another commit: CPU time by turns, one ratio for each case.

    python -m benchmarks.certified_since 2391b6d [--rows 75000] [--rounds 60] [--cases 16x10x1] [--out FILE]

Both commits stand in a process of their own with the same data; they are asked in turn, the order changing from round to round, so that
what the machine does meanwhile falls on both. A ratio above 1 says that this checkout takes longer. Machines differ in how their memory is laid out
from one process to the next, by some percent, and who starts second has the worse of it (the same commit against itself: 1.06 and 1.09): so the
pair of processes is started several times, each commit first in half of them, and the median over all is told.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from knnscope import environment

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

ROOT = Path(__file__).resolve().parent.parent
CASES = (
    (1, 1, 1),
    (1, 10, 1),
    (1, 100, 1),
    (4, 10, 1),
    (10, 10, 1),
    (100, 10, 1),
    (1000, 10, 1),
    (100, 100, 1),
    (1, 10, 2),
    (10, 10, 2),
    (100, 10, 2),
    (1000, 10, 2),
)
"""Queries, k, threads."""
SAMPLE_NS = 40_000_000
"""CPU time of a sample: calls are repeated to fill it."""
CHILD = """
import json, sys, time
import numpy as np
from knnscope.certified.index import ExactIndex
try:
    from knnscope.datasets import registry
except ImportError:
    from knnscope.datasets import names as registry  # as commits before its name had it
data, _ = registry.load(sys.argv[1])
rows, queries = data.documents.values, data.queries.values
index = ExactIndex(rows, threads=1)
for line in sys.stdin:
    batch, k, threads, calls = json.loads(line)
    every = [np.ascontiguousarray(queries[first : first + batch]) for first in range(0, len(queries) - batch + 1, batch)]
    total, began = 0, time.process_time_ns()
    for number in range(calls):
        total += int(index.search(every[number % len(every)], k, threads=threads).ids.sum())
    took = time.process_time_ns() - began
    print(json.dumps([took / calls, total]), flush=True)
"""


Case = tuple[int, int, int]


class Child:
    """A commit at work."""

    def __init__(self, checkout: Path, data: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, data],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": os.fspath(checkout), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, case: Case, calls: int) -> tuple[float, int]:
        """CPU nanoseconds a call, and a sum of the ids."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([*case, calls]) + "\n")
        self._process.stdin.flush()
        took, total = json.loads(self._process.stdout.readline())
        return took, total

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def pair(
    base: Path, data: str, rounds: int, swapped: bool, cases: tuple[Case, ...]
) -> dict[Case, list[tuple[float, float]]]:
    """CPU time of both, case by case and round by round, of one pair of processes."""
    children = tuple(Child(checkout, data) for checkout in ((ROOT, base) if swapped else (base, ROOT)))
    children = children[::-1] if swapped else children
    for child in children[:: -1 if swapped else 1]:
        child.ask(CASES[0], 1)  # the one that was started first has its memory first
    found: dict[Case, list[tuple[float, float]]] = {}
    for case in cases:
        first = [child.ask(case, 20 if case[0] == 1 else 2) for child in children]  # compiles
        assert first[0][1] == first[1][1], f"both commits answer alike, {case}"
        took = [child.ask(case, 3)[0] for child in children]
        calls = max(1, round(SAMPLE_NS / max(took)))
        lines = found[case] = []
        for number in range(rounds):
            order = (0, 1) if number % 2 else (1, 0)
            times = {which: children[which].ask(case, calls)[0] for which in order}
            lines.append((times[0], times[1]))
    for child in children:
        child.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--data", help="a data set of vectors with queries (default: synthetic text of so many rows)")
    parser.add_argument("--rounds", type=int, default=20, help="of each pair of processes")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--cases", help="queries, k and threads, as 16x10x1,100x100x2 (default: a dozen)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    cases = CASES
    if args.cases:
        cases = tuple((int(q), int(k), int(t)) for q, k, t in (case.split("x") for case in args.cases.split(",")))
    data = args.data or f"synthetic:text,rows={args.rows},queries=1000"
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--quiet", base, args.commit], check=True)
        try:
            pairs = [pair(base, data, args.rounds, bool(number % 2), cases) for number in range(args.pairs)]
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", base], check=True)
    lines: list[dict[str, Any]] = []
    for case in cases:
        both = [times for one in pairs for times in one[case]]
        ratios = [new / old for old, new in both]
        each = [median(new / old for old, new in one[case]) for one in pairs]
        queries, k, threads = case
        lines.append({
            "queries": queries, "k": k, "threads": threads, "base_ms": round(median(old for old, _ in both) / 1e6, 4),
            "ms": round(median(new for _, new in both) / 1e6, 4), "ratio": round(median(ratios), 4), "by_pair": [round(r, 4) for r in each],
        })  # fmt: skip
        print(
            f"{queries:>5} queries, k = {k:>3}, {threads} thread{'s' * (threads > 1)}: {lines[-1]['base_ms']:9.3f} -> {lines[-1]['ms']:9.3f} ms of CPU time, "
            f"{median(ratios):.3f} times ({', '.join(f'{r:.3f}' for r in each)} by pair)"
        )
    if args.out:
        facts = {"cpu": environment.cpu(), "commit": environment.commit(), "base": args.commit, "data": Path(data).name}
        args.out.write_text(json.dumps({**facts, "cases": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
