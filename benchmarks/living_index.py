"""A living index of many rows: adding, removing, updating, and searching after a tenth of the rows was exchanged, beside a fresh index of the same rows.

    python -m benchmarks.living_index [--rows 1000000] [--out benchmarks/results/living-index.json]

Rows are float32 with 64 leading directions and noise, 384 components. Searches of the two indexes take turns in one process; a ratio is the
median over rounds of the living index' time by the fresh one's in that round, with the quartiles of those ratios. Wall time, and CPU time
of all threads. Answers are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from knnscope import ExactIndex, environment

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

DIM, K, BATCHES = 384, 10, (1, 10, 100)
ROUNDS = {1: 101, 10: 31, 100: 9}
"""By queries."""


def rows_of(count: int, random: np.random.Generator, leading: Any) -> Any:
    """Rows, made in pieces."""
    made = np.empty((count, DIM), dtype=np.float32)
    for first in range(0, count, 20_000):
        some = made[first : first + 20_000]
        some[:] = random.standard_normal((len(some), len(leading)), dtype=np.float32) @ leading
        some += 0.3 * random.standard_normal(some.shape, dtype=np.float32)
    return made


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of wall time."""
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / 1e6


def beside(living: ExactIndex, fresh: ExactIndex, queries: Any) -> list[dict[str, Any]]:
    """Searches of both by turns."""
    found = []
    for batch in BATCHES:
        ratios, cpu, took = list[float](), list[float](), ([], [])  # type: tuple[list[float], list[float]]
        for turn in range(-3, ROUNDS[batch]):
            some = queries[(turn + 3) * batch % (len(queries) - batch) :][:batch]
            one, used = [0.0, 0.0], [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                index = (living, fresh)[which]
                began = time.process_time_ns()
                one[which] = timed(lambda: index.search(some, K))  # noqa: B023 - called at once
                used[which] = (time.process_time_ns() - began) / 1e6
            if turn >= 0:
                ratios.append(one[0] / one[1])
                cpu.append(used[0] / used[1])
                for which in (0, 1):
                    took[which].append(one[which])
        low, _, high = quantiles(ratios, n=4)
        found.append(
            {
                "queries": batch,
                "ratio": round(median(ratios), 3),
                "quartiles": [round(low, 3), round(high, 3)],
                "cpu_ratio": round(median(cpu), 3),
                "ms": [round(median(times), 3) for times in took],
            }
        )
        print("   ", found[-1], flush=True)
    return found


def agrees(living: ExactIndex, fresh: ExactIndex, queries: Any) -> bool:
    """Whether ids, distances and all are those of the fresh index."""
    a, b = living.search(queries, K), fresh.search(queries, K)
    return bool((a.ids == b.ids).all() and (a.distances == b.distances).all())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/living-index.json"))
    args = parser.parse_args()
    random = np.random.default_rng(0)
    leading = random.standard_normal((64, DIM), dtype=np.float32)
    rows, tenth = rows_of(args.rows, random, leading), args.rows // 10
    more = rows_of(tenth, random, leading)
    queries = rows[random.integers(0, len(rows), 500)] + 0.5 * random.standard_normal((500, DIM), dtype=np.float32)
    living = ExactIndex(rows)
    result: dict[str, Any] = {"rows": len(rows), "dim": DIM, "k": K}

    gone = random.permutation(args.rows)[:tenth]
    result["load"] = [round(load, 1) for load in os.getloadavg()]
    singly = [timed(lambda i=i: living.add(more[i])) * 1e3 for i in range(2000)]  # type: ignore[misc]
    result["add_one_us"] = {
        "median": round(median(singly), 1),
        "mean": round(sum(singly) / len(singly), 1),
        "most": round(max(singly), 1),
    }
    result["remove_one_us"] = round(median(timed(lambda i=i: living.remove(i)) for i in gone[:200].tolist()) * 1e3, 1)  # type: ignore[misc]
    result["update_one_us"] = round(
        median(timed(lambda i=i: living.update(i, more[0])) for i in gone[-200:].tolist()) * 1e3, 1
    )  # type: ignore[misc]
    print(result, flush=True)
    living = ExactIndex(rows)
    result["remove_tenth_ms"] = round(timed(lambda: living.remove(gone)), 1)
    step, adding, busy = min(10_000, tenth), list[float](), list[float]()
    for first in range(0, tenth, step):
        living.wait()  # what is merged beside it takes a core
        began = time.process_time_ns()
        adding.append(timed(lambda: living.add(more[first : first + step])))  # noqa: B023 - called at once
        busy.append((time.process_time_ns() - began) / 1e6)
    result["add_10000_ms"] = {
        "median": round(median(adding), 1),
        "least": round(min(adding), 1),
        "most": round(max(adding), 1),
        "cpu_median": round(median(busy), 1),
    }
    print(result, flush=True)
    result["settle_ms"] = round(timed(living.wait), 1)
    fresh = ExactIndex(living.get(living.ids), ids=living.ids)
    print("segments", [len(part.segment.ids) for part in living._living.state.parts])
    result["segments"] = [len(part.segment.ids) for part in living._living.state.parts]
    result["agrees"] = agrees(living, fresh, queries[:100])
    result["not_merged"] = beside(living, fresh, queries)
    result["merge_ms"] = round(timed(living.merge), 1)
    result["agrees_merged"] = agrees(living, fresh, queries[:100])
    result["merged"] = beside(living, fresh, queries)
    result["environment"] = environment.collect()
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
