"""fused-topk against reading its rows once, on this GPU: one query, medians of event-timed searches, interleaved with the reading.

    python -m benchmarks.fused_topk [--out benchmarks/results/fused-topk-h200.json]

The floor is the project's own reading kernel over the same bytes, its best number of blocks. "Queued": the GPU is kept busy until
the host has queued the search, so that events enclose the kernel alone. "As called": events around a call from Python on an idle GPU.
Data is drawn on the GPU; ids are compared with float64 distances.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import cupy as cp

from knnscope import environment
from knnscope.ceilings.gpu import BLOCKS, Gpu
from knnscope.kernels.fused_topk import FusedTopk

CASES = [
    (rows, dtype, k)
    for rows in (75_000, 1_000_000)
    for dtype in ("float32", "float16")
    for k in (1, 3, 10, 32, 100, 1000, 2048)
]
ASKED = {(1_000_000, "float32", 10): 1.05, (1_000_000, "float32", 100): 1.25}
"""Times the floor."""
ASKED_US = {(75_000, "float32", 10): 42.0}
DIM = 384


def gpu() -> Gpu:
    """The reading kernel on this device."""
    facts = cp.cuda.runtime.getDeviceProperties(cp.cuda.Device().id)
    return Gpu(int(facts["multiProcessorCount"]), int(facts["l2CacheSize"]))


def as_called(work: Any) -> float:
    """Seconds between events around a call on an idle GPU."""
    start, end = cp.cuda.Event(), cp.cuda.Event()
    cp.cuda.runtime.deviceSynchronize()
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(cp.cuda.get_elapsed_time(start, end)) / 1e3


def case(machine: Gpu, rows: Any, k: int, searches: int) -> dict[str, Any]:
    """Medians of one case, and whether its answers are those of float64."""
    index = FusedTopk(rows)
    queries = cp.random.standard_normal((16, DIM), dtype=cp.float32)
    wrong = differing = 0
    wide = rows.astype(cp.float64) if rows.nbytes < 1 << 30 else None
    for query in queries:
        ids, distances = index.search(query[None], k)
        true = exact(rows if wide is None else wide, query)
        order = cp.argsort(true)[:k]
        differing += int((order != ids[0]).any())
        gap = cp.abs(true[ids[0]] - true[order]) / true[order]
        off = cp.abs(distances[0].astype(cp.float64) - true[ids[0]]) / true[ids[0]]
        wrong += int(float(gap.max()) > 1e-4 or float(off.max()) > 1e-4 or len(cp.unique(ids[0])) != k)
    ids, distances = cp.empty((1, k), cp.int64), cp.empty((1, k), cp.float32)
    scratch = index.scratch(1, k)
    one = [queries[i : i + 1] for i in range(len(queries))]
    turn = iter(range(1 << 30))

    def search() -> None:
        index.launch(one[next(turn) % len(one)], k, ids, distances, scratch)

    for _ in range(30):
        machine.seconds(search)
    reading = {b: median(machine.seconds(partial(machine.read, rows, b)) for _ in range(30)) for b in BLOCKS}
    blocks = min(reading, key=lambda b: reading[b])
    took: dict[str, list[float]] = {"floor": [], "queued": [], "as called": []}
    for _ in range(searches):
        took["floor"].append(machine.seconds(lambda: machine.read(rows, blocks)))
        machine.seconds(search)  # what comes before a search is a search: the cache is as that leaves it
        took["queued"].append(machine.seconds(search))
        took["as called"].append(as_called(search))
        machine.seconds(lambda: machine.read(rows, blocks))
    us = {name: round(median(values) * 1e6, 2) for name, values in took.items()}
    spread = {name: [round(q * 1e6, 2) for q in quantiles(values, n=20)[::18]] for name, values in took.items()}
    return {
        "rows": len(rows),
        "dim": DIM,
        "dtype": str(rows.dtype),
        "k": k,
        "us": us,
        "us 5% and 95%": spread,
        "times the floor": round(us["queued"] / us["floor"], 3),
        "share of the floor": round(us["floor"] / us["queued"], 3),
        "queries of 16 with other ids than float64": differing,
        "wrong": wrong,
    }


def exact(rows: Any, query: Any) -> Any:
    """Squared distances in float64, block by block."""
    wide = query.astype(cp.float64)
    step = 1 << 16
    return cp.concatenate(
        [((rows[i : i + step].astype(cp.float64) - wide) ** 2).sum(axis=1) for i in range(0, len(rows), step)]
    )


def data(count: int, dtype: str) -> Any:
    """Normal rows."""
    chance = cp.random.default_rng(count)
    return chance.standard_normal((count, DIM), dtype=cp.float32).astype(dtype)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fused-topk.json"))
    args = parser.parse_args()
    machine = gpu()
    found = []
    for count in sorted({rows for rows, _, _ in CASES}):
        for dtype in ("float32", "float16"):
            rows = data(count, dtype)
            for _, _, k in (c for c in CASES if c[:2] == (count, dtype)):
                row = case(machine, rows, k, args.searches)
                key = (count, dtype, k)
                if key in ASKED:
                    row["asked"] = f"at most {ASKED[key]} times the floor"
                if key in ASKED_US:
                    row["asked"] = f"at most {ASKED_US[key]} µs"
                found.append(row)
                print({n: row[n] for n in ("rows", "dtype", "k", "us", "times the floor", "wrong")}, flush=True)
    facts = environment.collect()
    args.out.write_text(
        json.dumps({"searches": args.searches, "environment": facts}, indent=1)[:-2]
        + ',\n "cases": [\n  '
        + ",\n  ".join(map(json.dumps, found))
        + "\n ]\n}\n"
    )
    if any(row["wrong"] for row in found):
        raise SystemExit("wrong answers: see above")


if __name__ == "__main__":
    main()
