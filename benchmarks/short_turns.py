"""How short should the turns of two processes be? The same environment against itself, by turns of several lengths that take about as long together.

    python benchmarks/short_turns.py [--rows 5000] [--engine numpy] [--pairs 14] [--out benchmarks/results/short-turns.json]

For each length pairs of processes are started in turn; what is told is how far pairs lie from each other (standard deviation of the logarithm of the one's
time over the other's), by the median over turns of the turns' medians, as compare --beside has it, and by the means of turns.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import environment
from knnscope.bench import session
from knnscope.bench.child import Data
from knnscope.bench.plan import Case, Options
from knnscope.bench.task import Task
from knnscope.datasets import registry
from knnscope.search import catalog

BATCH = 10
LENGTHS = ((6, 10), (10, 6), (20, 3), (30, 2))
"""Turns, and timed calls in each."""


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--engine", default="numpy")
    parser.add_argument("--pairs", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/short-turns.json"))
    args = parser.parse_args()
    dataset, _ = registry.load(f"synthetic:text,rows={args.rows},queries=200")
    task = Task("synthetic", dataset.documents.values, dataset.queries.values, "l2")
    before = environment.state()
    with session.vector_files(task, BATCH) as (data, _):
        chance = random.Random(0)
        found: dict[tuple[int, int], list[tuple[float, float, float, float]]] = {length: [] for length in LENGTHS}
        for _ in range(args.pairs):
            for length in chance.sample(LENGTHS, len(LENGTHS)):
                found[length].append(pair(args.engine, data, length, chance))
    after = environment.state()
    told = {f"{turns} turns of {calls} calls": spread(some) for (turns, calls), some in found.items()}
    print(json.dumps(told, indent=1))
    facts = {
        "rows": args.rows,
        "engine": args.engine,
        "pairs": args.pairs,
        "cores kept busy by other work": environment.other_cores(before, after),
        "lengths": told,
        "environment": environment.collect(catalog.libraries()),
    }
    args.out.write_text(json.dumps(facts, indent=1) + "\n")


def pair(engine: str, data: Data, length: tuple[int, int], chance: random.Random) -> tuple[float, float, float, float]:
    """By medians, by means, seconds of starting and of turns, of one pair of processes."""
    turns, calls = length
    case = Case(engine, 10, BATCH, "host")
    began = time.monotonic()
    both = [session.start(engine, data, Options(threads=1)) for _ in range(2)]
    try:
        for one in both:
            one.build()
            one.turn(case, [0])
            one.pause()
        ready = time.monotonic()
        times: list[list[list[int]]] = [[], []]
        for turn in range(turns):
            firsts = [(turn * calls + i) * BATCH % 200 for i in range(calls)]
            for side in chance.sample((0, 1), 2):
                times[side].append([sample.wall_ns for sample in both[side].turn(case, firsts).samples])
                both[side].pause()
    finally:
        for one in both:
            one.close()
    first, second = (np.array(some, dtype=np.float64) for some in times)
    by_medians = float(np.median(np.log(np.median(second, axis=1) / np.median(first, axis=1))))
    by_means = float(np.mean(np.log(second.mean(axis=1) / first.mean(axis=1))))
    return by_medians, by_means, ready - began, time.monotonic() - ready


def spread(some: list[tuple[float, float, float, float]]) -> dict[str, Any]:
    """Of all pairs of a length."""
    by_medians, by_means, start, turns = np.array(some).T
    return {
        "by medians of turns": round(float(by_medians.std(ddof=1)), 3),
        "by means of turns": round(float(by_means.std(ddof=1)), 3),
        "seconds to start": round(float(start.mean()), 2),
        "seconds of turns": round(float(turns.mean()), 2),
    }


if __name__ == "__main__":
    main()
