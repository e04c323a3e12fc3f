"""Certified search on this processor and on this GPU, queries and answers in host memory: from which shape on the GPU is faster.

    python -m benchmarks.certified_devices [--dim 384] [--rows 500,2000,8000,32000,128000] [--batches 1,10,100,1000] [--out FILE]

Both are called in turn, so that what else the machine does hits both; medians of wall time in microseconds. ``device="auto"`` goes by this
(certified/either.py).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry

SECONDS, MOST, FEWEST = 0.5, 200, 5
"""Of a shape; calls of each device."""


def medians(indexes: list[ExactIndex], queries: object, k: int) -> list[float]:
    """Median microseconds of each."""
    for index in indexes:
        for _ in range(3):
            index.search(queries, k)
    took: list[list[float]] = [[] for _ in indexes]
    began = time.perf_counter()
    while len(took[0]) < FEWEST or (len(took[0]) < MOST and time.perf_counter() - began < SECONDS):
        for index, times in zip(indexes, took, strict=True):
            start = time.perf_counter_ns()
            index.search(queries, k)
            times.append((time.perf_counter_ns() - start) / 1e3)
    return [round(median(times), 1) for times in took]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rows", default="500,2000,8000,32000,128000")
    parser.add_argument("--batches", default="1,10,100,1000")
    parser.add_argument("--data", default="text")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = []
    for count in map(int, args.rows.split(",")):
        dataset, _ = registry.load(f"synthetic:{args.data},rows={count},dim={args.dim},queries=1000")
        rows, queries = dataset.documents.values, dataset.queries.values
        indexes = []
        built = []
        for device in ("cpu", "cuda"):
            ExactIndex(rows, device=device).wait().search(queries, args.k)  # compiles
            began = time.perf_counter()
            indexes.append(ExactIndex(rows, device=device).wait())
            built.append(round((time.perf_counter() - began) * 1e6))
        for batch in map(int, args.batches.split(",")):
            cpu, cuda = medians(indexes, queries[:batch], args.k)
            lines.append(
                {"rows": count, "dim": args.dim, "queries": batch, "cpu_us": cpu, "cuda_us": cuda, "built_us": built}
            )
            print(json.dumps(lines[-1]), flush=True)
    if args.out:
        facts = {"environment": environment.collect(), "data": args.data, "k": args.k, "lines": lines}
        args.out.write_text(json.dumps(facts, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
