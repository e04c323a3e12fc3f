"""What a search costs with few allowed rows, in parts of the same search without a filter: CPU time of one thread, by turns.

    python -m benchmarks.filtered [--data runs/wordnet75] [--rows 1000000] [--shares 0.01 0.05 0.5] [--rounds 5] [--out FILE]

Masks are truth values, drawn at random: rows that are allowed lie everywhere, which is the worst case. Rows beyond those of the data are these again
with a little noise.
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

import numpy as np

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry

TURN, K = 0.05, 10


def timed(index: ExactIndex, queries: np.ndarray, where: Any) -> float:
    """CPU seconds of a call."""
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while not calls or time.perf_counter() - began < TURN:
        index.search(queries, K, where=where)
        calls += 1
    return (time.process_time() - cpu) / calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic:text,rows=75000,queries=100", help="vectors with queries")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.05, 0.5])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data, _ = registry.load(args.data)
    given, queries = (np.asarray(part.values, dtype=np.float32) for part in (data.documents, data.queries))
    random, rows = np.random.default_rng(0), np.empty((args.rows, given.shape[1]), dtype=np.float32)
    for first in range(0, args.rows, len(given)):
        some = given[: args.rows - first]
        rows[first : first + len(some)] = some
        if first:
            rows[first : first + len(some)] += 0.02 * random.standard_normal(some.shape, dtype=np.float32)
    index, lines = ExactIndex(rows, threads=1).wait(), []
    for share in args.shares:
        each = random.random((100, args.rows), dtype=np.float32) < share
        for batch in (1, 100):
            ways = {"none": None, "one for all": each[0], "one a query": each[:batch]}
            times: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(args.rounds + 1):
                for name, where in ways.items():
                    took = timed(index, queries[:batch], where)
                    if number:
                        times[name].append(took)
            ratios = {
                name: round(median(one / whole for one, whole in zip(some, times["none"], strict=True)), 4)
                for name, some in times.items() if name != "none"
            }  # fmt: skip
            path = index.search(queries[:batch], K, where=each[:batch]).certificate.path
            lines.append(
                {
                    "share": share,
                    "queries": batch,
                    "none_ms": round(median(times["none"]) * 1e3, 3),
                    "ratios": ratios,
                    "path": path,
                }
            )
            print(
                f"{share:.0%} allowed, {batch:>3} queries: {median(times['none']) * 1e3:9.3f} ms without a filter; in parts of it {ratios}",
                flush=True,
            )
    if args.out:
        facts = {
            "data": Path(args.data).name,
            "rows": args.rows,
            "dim": rows.shape[1],
            "k": K,
            "cases": lines,
            "environment": environment.collect(),
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
