"""knnscope.sklearn against scikit-learn: NearestNeighbors.kneighbors, the same call by turns, CPU time of one thread.

    python -m benchmarks.nearest_neighbors [--data SPEC] [--batches 1 1000] [--k 10] [--rounds 7] [--out FILE]

A ratio is the median over rounds of scikit-learn's time to ours of the same round. Distances and neighbors are compared as well.
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
import sklearn.neighbors

from knnscope import environment
from knnscope import sklearn as ours
from knnscope.datasets import registry

TURN = 0.2
"""Seconds that a turn fills."""


def timed(of: Any, queries: np.ndarray, batch: int, first: int) -> float:
    """CPU seconds of a call."""
    starts = range(0, len(queries) - batch + 1, batch)
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - began < TURN:
        at = starts[(first + calls) % len(starts)]
        of.kneighbors(queries[at : at + batch])
        calls += 1
    return (time.process_time() - cpu) / calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic:text,rows=75000,dim=384,queries=1000", help="vectors with queries")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data, _ = registry.load(args.data)
    rows, queries = (np.ascontiguousarray(part.values, dtype=np.float32) for part in (data.documents, data.queries))
    asked = {
        "knnscope": ours.NearestNeighbors(n_neighbors=args.k).fit(rows),
        "scikit-learn": sklearn.neighbors.NearestNeighbors(n_neighbors=args.k, algorithm="brute").fit(rows),
    }
    (far, near), (other, ids) = (of.kneighbors(queries) for of in asked.values())
    alike = {
        "neighbors_that_differ": int((near != ids).sum()),
        "largest_difference_of_distances": float(np.abs(far - other).max()),
    }
    print(f"{len(rows):,} rows x {rows.shape[1]}, k = {args.k}; {alike}")
    lines = []
    for batch in args.batches:
        times: dict[str, list[float]] = {name: [] for name in asked}
        for number in range(args.rounds):
            for name, of in asked.items():
                times[name].append(timed(of, queries, batch, 3 * number))
        ratio = median(one / own for one, own in zip(times["scikit-learn"], times["knnscope"], strict=True))
        lines.append({
            "queries": batch, **{f"{name}_ms": round(median(some) * 1e3, 3) for name, some in times.items()},
            "times_as_long": round(ratio, 2),
        })  # fmt: skip
        print(
            f"{batch:>5} queries: knnscope {lines[-1]['knnscope_ms']} ms, scikit-learn {ratio:.1f} times as long",
            flush=True,
        )
    if args.out:
        facts = {
            "data": args.data, "rows": len(rows), "dim": rows.shape[1], "k": args.k, **alike, "cases": lines,
            "environment": environment.collect(),
        }  # fmt: skip
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
