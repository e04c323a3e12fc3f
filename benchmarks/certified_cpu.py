"""Certified search against its peers on one thread: process CPU time, interleaved, caches hot and flushed, ratios of one run.

    python -m benchmarks.certified_cpu --rows 75000 [--out benchmarks/results/certified-cpu-75000.json]
    python -m benchmarks.certified_cpu --rows 1000000 --few

Faiss stands there three times: as installed, and tuned: distances one by one or matrix products, with the OpenBLAS kernels that are
fastest here (OPENBLAS_CORETYPE, tried first). "Tuned" is the better of the two. Ten rounds, each in a process of its own. Panorama, usearch,
scikit-learn, NumPy and torch (where installed) are asked for k = 10 only; with --few, and where a call would take minutes, not for
1,000 queries, and usearch and scikit-learn not for 100. Last, CPU time on two threads as a multiple of that on one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.tuned_faiss import CORETYPE
from knnscope import ExactIndex
from knnscope.analysis.measurement import to_dict
from knnscope.bench import session
from knnscope.bench.plan import Case, Options
from knnscope.bench.task import Task
from knnscope.ceilings.record import Ceilings
from knnscope.certified.cpu import dispatch
from knnscope.datasets import registry
from knnscope.search import catalog
from knnscope.search.catalog import Entry

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

BATCHES, KS = (1, 10, 100, 1000), (3, 10, 100)
TUNED = ("faiss-direct", "faiss-blas")
FLOORS = {(1, 10): 4.0, (10, 10): 6.5, (100, 10): 3.6, (1000, 10): 3.6, (100, 100): 2.1}
"""Ratios to tuned Faiss that were asked for, by batch and k."""
ROUNDS = 16
"""Of one and two threads in turn, a few tenths of a second each."""


@dataclass(frozen=True, slots=True)
class Cases(session.Grid):
    """Those that are worth their time."""

    few: bool = False

    def cases(self) -> list[Case]:
        """See the head of this file."""
        return [c for c in super(Cases, self).cases() if self._asked(c)]

    def _asked(self, c: Case) -> bool:
        if c.engine == "faiss-direct":
            return c.batch <= 10
        if c.engine in ("certified", "faiss-blas"):
            return True
        if c.engine == "faiss":
            return c.batch <= (10 if self.few else 1000) and (c.k == 10 or not self.few)
        most = {"faiss-panorama": 100, "usearch": 10, "sklearn": 10, "torch": 100, "numpy": 100} if self.few else {}
        return c.k == 10 and c.batch <= most.get(c.engine, 1000)


def best_coretype() -> str:
    """The OpenBLAS kernels with which Faiss multiplies fastest."""
    code = (
        "import benchmarks.tuned_faiss as t, numpy as np, time; f = t.faiss.faiss; f.omp_set_num_threads(1)\n"
        "x = np.random.default_rng(0).standard_normal((40000, 384)).astype(np.float32); i = t.Blas().build(x, 'l2'); i.search(x[:200], 10)\n"
        "b = time.process_time(); i.search(x[:500], 10); print(time.process_time() - b)"
    )
    took = {}
    for name in ("", "Haswell", "Zen", "SkylakeX", "Cooperlake"):
        base = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        env = {**base, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", CORETYPE: name}
        runs = [subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True) for _ in range(3)]
        took[name] = min((float(r.stdout) for r in runs if r.returncode == 0), default=float("inf"))
    print("OpenBLAS kernels, seconds:", {k or "as installed": round(v, 3) for k, v in took.items()})
    return min(took, key=lambda name: took[name])


def two_threads(rows: Any, queries: Any) -> dict[str, float]:
    """CPU time on two threads over that on one, by batch: interleaved, many calls together."""
    index = ExactIndex(rows, threads=1)
    found = {}
    for batch in BATCHES:
        some = queries[:batch]
        calls = max(2, min(300, 2000 // batch) * 75_000 // len(rows))
        spent: dict[int, list[float]] = {1: [], 2: []}
        for threads in (1, 2) * ROUNDS:
            began = time.process_time()
            for _ in range(calls):
                index.search(some, 10, threads=threads)
            spent[threads].append(time.process_time() - began)
        found[str(batch)] = round(median(spent[2][1:]) / median(spent[1][1:]), 3)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--data", help="vectors with queries (default: clustered text of so many rows)")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("-k", type=int, nargs="+", default=KS)
    parser.add_argument("--kind", help=f"of products, one of {', '.join(dispatch.available())}")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or Path(f"benchmarks/results/certified-cpu-{args.rows}.json")
    coretype = best_coretype()
    os.environ[CORETYPE] = coretype
    catalog.ENGINES["faiss-direct"] = Entry("benchmarks.tuned_faiss:Direct", "faiss", "cpu", "tuned")
    catalog.ENGINES["faiss-blas"] = Entry("benchmarks.tuned_faiss:Blas", "faiss", "cpu", "tuned")
    peers = [n for n in ("faiss-panorama", "usearch", "sklearn", "numpy", "torch") if catalog.problem(n) is None]
    dataset, _ = registry.load(args.data or f"synthetic:text,rows={args.rows},queries=1000")
    task = Task(dataset.name, dataset.documents.values, dataset.queries.values, "l2")
    grid = Cases(["certified", "faiss", *TUNED, *peers], args.k, BATCHES, few=args.few)
    measured = session.measure(task, grid, Options(threads=1, rounds=10, seconds=10_000, timeout=900))
    rows = [to_dict(r) for r in measured.rows if r.cache != "first"]
    lines = table(rows, Ceilings.from_json(measured.environment["ceilings"]["cpu"]))
    for line in lines:
        print(line)
    threads = two_threads(task.rows, task.queries)
    print("CPU time on two threads over one, by batch:", threads)
    kept = [{k: v for k, v in r.items() if k not in ("samples_ns", "evidence")} for r in rows]
    head = {
        "coretype": coretype or "as installed",
        "kinds": dispatch.available(),
        "two_threads": threads,
        "table": lines,
    }
    out.write_text(
        json.dumps({**head, "environment": measured.environment}, indent=1)[:-2]
        + ',\n "rows": [\n  '
        + ",\n  ".join(map(json.dumps, kept))
        + "\n ]\n}\n"
    )


def table(rows: list[dict[str, Any]], ceilings: Ceilings) -> list[str]:
    """A line a case: times, ratio to tuned Faiss and to each peer, share of the read floors."""
    cpu = {(r["engine"], r["batch"], r["k"], r["cache"]): r["cpu_ns"] for r in rows if r["cpu_ns"]}
    grades = {(r["engine"], r["batch"], r["k"]): r["grade"] for r in rows}
    floor = {(r["batch"], r["k"], r["cache"]): r for r in rows if r["engine"] == "certified"}
    lines = []
    for (batch, k, cache), own in sorted(floor.items()):
        mine = cpu["certified", batch, k, cache]
        others = {n: v for (n, b, kk, c), v in cpu.items() if (b, kk, c) == (batch, k, cache) and n != "certified"}
        tuned = min((v for n, v in others.items() if n in TUNED), default=None)
        asked = FLOORS.get((batch, k))
        shares = ""
        if own["floor_ns"]:
            int8 = ceilings.floor_ns(
                own["rows"] * (own["dim"] + 12), cache
            )  # at the rate for so many bytes: they may fit a cache
            shares = f"{100 * int8 / mine:.0f}% of int8's floor, {100 * own['floor_ns'] / mine:.0f}% of float32's"
        lines.append(
            f"{batch:>5} queries, k = {k:>3}, {cache:4}: {mine / 1e6:9.2f} ms"
            + (f", tuned Faiss {tuned / 1e6:.2f}, {tuned / mine:.2f} times" if tuned else "")
            + (f" (asked {asked})" if asked and cache == "hot" else "")
            + f"; {shares}; "
            + ", ".join(f"{n} {v / mine:.2f}" for n, v in sorted(others.items()))
            + f"; {grades['certified', batch, k]}"
        )
    return lines


if __name__ == "__main__":
    main()
