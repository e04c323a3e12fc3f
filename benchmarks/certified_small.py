"""Few rows: CPU time of one call, certified search beside Faiss's IndexFlatL2 and NumPy as installed, by turns in one process, one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.certified_small [--out benchmarks/results/certified-small.json]
    python -m benchmarks.certified_small --draw benchmarks/results/certified-small.json     # its chart beside it, rows against time; measures nothing

Rows are float32 with 24 leading directions and noise, queries are rows with more noise, another one for each call. A figure is the median of
many rounds; a ratio above 1 says that certified search takes longer than the faster one of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

from knnscope import ExactIndex, environment
from knnscope.search import catalog

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

CASES = (
    *((rows, 1) for rows in (10, 50, 100, 200, 500, 1000, 2000, 4000)),
    *((rows, 10) for rows in (10, 200, 500, 1000, 2000)),
    *((rows, 100) for rows in (10, 50, 100, 200, 500, 1000, 2000)),
)
"""Rows and queries."""
DIM, K = 384, 10
ROUNDS, ROUND_NS = 41, 4_000_000
Search = Callable[[Any], object]


def data(rows: int, queries: int) -> tuple[Any, list[Any]]:
    """Rows, and four batches of queries."""
    random = np.random.default_rng(rows)
    low = random.standard_normal((rows, 24)) @ random.standard_normal((24, DIM))
    values = (low + 0.3 * random.standard_normal((rows, DIM))).astype(np.float32)
    some = values[random.integers(0, rows, 4 * queries)] + 0.5 * random.standard_normal((4 * queries, DIM))
    return values, np.split(some.astype(np.float32), 4)


def case(rows: int, queries: int) -> dict[str, float]:
    """Microseconds of CPU time by engine."""
    values, batches = data(rows, queries)
    faiss.omp_set_num_threads(1)
    index = ExactIndex(values, threads=1)
    searches: dict[str, Search] = {"certified": lambda q: index.search(q, min(K, rows))}
    flat, plain = faiss.IndexFlatL2(DIM), catalog.load("numpy").build(values, "l2")
    flat.add(values)
    searches["faiss"], searches["numpy"] = (
        (lambda q: flat.search(q, min(K, rows))),
        (lambda q: plain.search(q, min(K, rows))),
    )
    calls, took = {}, {name: list[float]() for name in searches}
    for name, search in searches.items():
        for _ in range(3):
            search(batches[0])
        began = time.process_time_ns()
        search(batches[0])
        calls[name] = max(1, ROUND_NS // max(1, time.process_time_ns() - began))
    for _ in range(ROUNDS):
        for name, search in searches.items():
            began = time.process_time_ns()
            for number in range(calls[name]):
                search(batches[number % 4])
            took[name].append((time.process_time_ns() - began) / calls[name])
    return {name: round(median(times) / 1e3, 1) for name, times in took.items()}


def draw(results: Path) -> None:
    """Rows against time, a panel for each number of queries, as a PNG beside the results."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    run = json.loads(results.read_text())
    batches = sorted({one["queries"] for one in run["cases"]})
    figure, panels = plt.subplots(1, len(batches), figsize=(4.2 * len(batches), 4), layout="constrained")
    for panel, queries in zip(panels, batches, strict=True):
        cases = sorted((one for one in run["cases"] if one["queries"] == queries), key=lambda one: int(one["rows"]))
        for name, label in (("certified", "certified search"), ("faiss", "Faiss IndexFlatL2"), ("numpy", "NumPy")):
            panel.loglog(
                [one["rows"] for one in cases], [one["cpu_us"][name] for one in cases], "o-", ms=4, label=label
            )
        panel.set(title=f"{queries} quer{'y' if queries == 1 else 'ies'} a call", xlabel="rows")
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("CPU time of a call, microseconds")
    panels[0].legend()
    cpu = run["environment"]["cpu"]
    best = "AVX-512" if "avx512f" in cpu["vector_instructions"] else "AVX2"
    figure.suptitle(f"{cpu['model']} ({best}), {DIM} float32 components, k = {K}, one thread")
    figure.savefig(results.with_suffix(".png"), dpi=110)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-small.json"))
    parser.add_argument("--draw", type=Path, help="results to draw")
    args = parser.parse_args()
    if args.draw:
        draw(args.draw)
        return
    found = []
    for rows, queries in CASES:
        took = case(rows, queries)
        ratio = round(took["certified"] / min(took["faiss"], took["numpy"]), 2)
        found.append({"rows": rows, "queries": queries, "cpu_us": took, "ratio": ratio})
        print(f"{rows:5} rows, {queries:3} queries: {took}, ratio {ratio}")
    args.out.write_text(json.dumps({"cases": found, "environment": environment.collect()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
