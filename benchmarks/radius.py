"""All rows within a radius: knnscope's radius_search against Faiss' range_search and scikit-learn's radius_neighbors, by turns, CPU time of one thread.

    python -m benchmarks.radius [--data runs/wordnet75] [--rounds 5] [--out FILE]

Radii are the median distances of the 1st, 10th and 100th neighbor. A ratio is the median over rounds of that library's time to ours of the same round.
A library that takes more than ``DEAR`` seconds for a case is asked once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ["KNNSCOPE_COMPILE"] = "wait"
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry

RANKS = (1, 10, 100)
BATCHES = (1, 10, 100, 1000)
DEAR, TURN = 3.0, 0.03
"""Seconds of a call that are too many; seconds that a turn fills."""


def libraries(rows: np.ndarray) -> dict[str, Any]:
    """What each does for queries and a squared radius: how many rows it found."""
    index = ExactIndex(rows, threads=1).wait()
    found: dict[str, Any] = {"knnscope": lambda some, radius: len(index.radius_search(some, radius).ids)}
    try:
        import faiss

        faiss.omp_set_num_threads(1)
        flat = faiss.IndexFlatL2(rows.shape[1])
        flat.add(rows)
        found["faiss"] = lambda some, radius: len(flat.range_search(some, radius)[2])
    except ImportError:
        print("not asked: faiss")
    try:
        from sklearn.neighbors import NearestNeighbors

        brute = NearestNeighbors(algorithm="brute", n_jobs=1).fit(rows)

        def ask(some: np.ndarray, radius: float) -> int:
            return sum(map(len, brute.radius_neighbors(some, radius**0.5)[1]))

        found["scikit-learn"] = ask
    except ImportError:
        print("not asked: scikit-learn")
    return found


def timed(ask: Any, queries: np.ndarray, batch: int, radius: float, first: int) -> tuple[float, int]:
    """CPU seconds of a call, and how many rows the last one found."""
    starts = range(0, len(queries) - batch + 1, batch)
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - began < TURN:
        at = starts[(first + calls) % len(starts)]
        found = ask(queries[at : at + batch], radius)
        calls += 1
    return (time.process_time() - cpu) / calls, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic:text,rows=75000,queries=1000", help="vectors with queries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data, _ = registry.load(args.data)
    rows, queries = (np.ascontiguousarray(part.values, dtype=np.float32) for part in (data.documents, data.queries))
    near = ExactIndex(rows, threads=1).wait().search(queries, max(RANKS)).distances
    asked, lines = libraries(rows), []
    for rank in RANKS:
        radius = float(np.median(near[:, rank - 1]))
        for batch in (size for size in BATCHES if size <= len(queries)):
            times: dict[str, list[float]] = {name: [] for name in asked}
            counts = {
                name: ask(queries[:batch], radius) for name, ask in asked.items() if name == "knnscope" or batch < 1000
            }
            for number in range(args.rounds):
                for name, ask in asked.items():
                    if not times[name] or name == "knnscope" or times[name][0] < DEAR:
                        times[name].append(timed(ask, queries, batch, radius, 3 * number)[0])
            ours = times["knnscope"]
            ratios = {
                name: round(median(one / own for one, own in zip(some, ours, strict=False)), 2)
                for name, some in times.items() if name != "knnscope"
            }  # fmt: skip
            lines.append({
                "rank": rank, "radius": radius, "queries": batch, "rows_found": counts, "knnscope_ms": round(median(ours) * 1e3, 3),
                "times_as_long": ratios,
            })  # fmt: skip
            print(
                f"radius of the {rank}. neighbor, {batch:>4} queries: {median(ours) * 1e3:9.3f} ms; times as long: {ratios}; rows {counts}",
                flush=True,
            )
    if args.out:
        facts = {
            "data": Path(args.data).name,
            "rows": len(rows),
            "dim": rows.shape[1],
            "cases": lines,
            "environment": environment.collect(),
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
