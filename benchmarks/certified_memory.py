"""What memory="small" costs: CPU time of searches with and without byte codes beside the plane, by turns in one process.

    KNNSCOPE_COMPILE=wait python -m benchmarks.certified_memory [--rows 75000]

Clustered text x 384, one thread; the median of five rounds, and rows computed by the definition. Answers are compared.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

from knnscope.certified.index import ExactIndex
from knnscope.certified.memory import NAMES
from knnscope.datasets import registry

CASES = ((1, 10), (10, 10), (100, 10), (1000, 10), (10, 1000))
"""Queries of a call, and neighbors."""
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    data, _ = registry.load(f"synthetic:text,rows={parser.parse_args().rows},queries=1000")
    rows, queries = data.documents.values, data.queries.values
    indexes = {memory: ExactIndex(rows, threads=1, memory=memory).wait() for memory in NAMES}
    for memory, index in indexes.items():
        print(f"{memory}: {index.levels}, {index.nbytes / len(rows):.0f} bytes a row")
    for batch, k in CASES:
        times: dict[str, list[float]] = {memory: [] for memory in NAMES}
        turns = max(1, 20 // batch)
        for _ in range(ROUNDS):
            found = {}
            for memory, index in indexes.items():
                index.search(queries[:batch], k)
                began = time.process_time()
                for turn in range(turns):
                    found[memory] = index.search(queries[turn * batch : (turn + 1) * batch], k)
                times[memory].append((time.process_time() - began) / turns * 1e3)
            one, other = found.values()
            if not (np.array_equal(one.ids, other.ids) and np.array_equal(one.distances, other.distances)):
                raise SystemExit("WRONG: the answers differ")
        shown = [
            f"{memory} {median(times[memory]):.2f} ms, {np.median(found[memory].certificate.computed):.0f} computed, {'+'.join(found[memory].certificate.path)}"
            for memory in NAMES
        ]
        print(f"{batch:>5} queries, k = {k}: " + "; ".join(shown))


if __name__ == "__main__":
    main()
