"""Which path few and many queries should take on a processor, the plane or the byte codes, and which one certified search predicts.

    python -m benchmarks.certified_paths --data runs/wordnet75 synthetic:text,rows=75000,queries=1000 synthetic:isotropic,rows=75000,queries=1000
        [--rounds 12] [--out benchmarks/results/certified-paths-zen3.json]

Both paths of one index answer the same queries by turns, the order changing from round to round: CPU time of one thread, summed over all rounds.
What is predicted rests on what the sample of an index says (components.Directions), which is kept beside the times: so whoever changes the prices of
dispatch.py can see what that does to the choice (tests/certified/cpu/test_paths.py).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

import numpy as np
import numpy.typing as npt

from knnscope import environment
from knnscope.certified.cpu import dispatch, plane, quantise
from knnscope.certified.cpu.plane import Plane
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry

CASES = {1: (10, 100, 300, 1000), 4: (10, 50, 100, 200), 10: (10, 30, 50, 70, 100), 100: (10, 30, 50, 70, 100)}
"""Numbers of neighbors, by queries."""
CALLS = 20
"""Queries of a sample at least."""


def times(
    index: ExactIndex, queries: npt.NDArray[np.float32], case: tuple[int, int], rounds: int
) -> tuple[float, float]:
    """CPU milliseconds of a call by the plane, and by the codes.

    Args:
        index: with both.
        queries: (queries, dim).
        case: queries of a call, and k.
        rounds: of both.
    """
    batch, k = case
    every = [np.ascontiguousarray(queries[i : i + batch]) for i in range(0, len(queries) - batch + 1, batch)]
    calls, took = max(1, CALLS // batch), {True: 0.0, False: 0.0}
    for number in range(rounds):
        for by_plane in (True, False) if number % 2 else (False, True):
            with patch.object(Plane, "answers", lambda *_, by_plane=by_plane: by_plane):
                if not number:
                    index.search(every[0], k)
                began = time.process_time()
                for call in range(calls):
                    index.search(every[(number * calls + call) % len(every)], k)
                took[by_plane] += time.process_time() - began
    return took[True] / rounds / calls * 1e3, took[False] / rounds / calls * 1e3


def measured(spec: str, rounds: int) -> dict[str, Any]:
    """What is known of one data set."""
    data, _ = registry.load(spec)
    rows, queries = (np.asarray(part.values, dtype=np.float32) for part in (data.documents, data.queries))
    index = ExactIndex(rows, threads=1)
    prices = dispatch.PRICES[index.isa]
    directions = plane.directions_of(rows, quantise.mapping_of(rows, "l2", Workers(1)), prices)
    assert directions is not None, "rows with a plane"
    m, dim = directions.matrix.shape
    most = directions.most_neighbors(prices)
    print(f"{Path(spec).name}: {len(rows):,} rows x {dim}, the plane has {m}; predicted largest k {most}")
    cases = []
    for batch, ks in CASES.items():
        for k in ks:
            by_plane, by_codes = times(index, queries, (batch, k), rounds)
            cases.append({"queries": batch, "k": k, "plane_ms": round(by_plane, 4), "codes_ms": round(by_codes, 4)})
            print(
                f"{batch:>5} queries, k = {k:>4}: plane {by_plane:9.3f} ms, codes {by_codes:9.3f}, {by_plane / by_codes:.2f} times"
            )
    return {
        "data": Path(spec).name,
        "rows": len(rows),
        "dim": dim,
        "m": m,
        "survivors": directions.survivors,
        "cases": cases,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="vectors with queries: names of data sets, or folders")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = [measured(spec, args.rounds) for spec in args.data]
    if args.out:
        facts = {
            "cpu": environment.cpu(),
            "commit": environment.commit(),
            "isa": dispatch.available()[0],
            "data": found,
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
