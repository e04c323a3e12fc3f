"""Certified search on a GPU beside its peers, device resident, in one process: medians of event-timed searches, results ready.

    python -m benchmarks.certified_gpu [--rows 75000,1000000] [--dim 384] [-k 1,10,100] [--batches 1,4,16,100,1000,10000] [--peers torch-cuda,cuvs]
        [--data isotropic] [--vectors ROWS.npy QUERIES.npy] [--out FILE]

"graph" replays a search that was captured once (``out=``), which is what a caller with fixed shapes does; "call" is ``ExactIndex.search``
from Python with arrays of the GPU, by the host's clock, until the answer is there; "proof" the same with its certificate read. Peers are
this project's engines of compare, called as they are; they answer in float32. "cold": the second-level cache was overwritten before each
search. Every answer is held against float64 (search/definition.py) for the first eight queries: the rows that may be answers are found by
float64 sums on the GPU, whose order of additions is another one, and with a margin for that.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cupy as cp
import numpy as np

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors
from knnscope.search import catalog, definition
from knnscope.search import engine as engines

CHECKED = 8
"""Queries of each line that are held against float64."""
MARGIN = 1e-9
"""Relative; sums of d squares in another order differ by d 2^-53 at most."""
STEP = 1 << 16
"""Rows whose float64 sums are made at once."""
CALLS, MOST_S, FEWEST = 100, 0.3, 5
"""Searches of a line; of a peer as many as fit into so many seconds, but at least some."""


def clustered(count: int, dim: int, seed: int, centres: int = 1000) -> Any:
    """Vectors around centres, with a spectrum that falls, as text embeddings have it; float32, on the GPU."""
    random = cp.random.default_rng(seed)
    middle = cp.random.default_rng(7).standard_normal((centres, dim), dtype=cp.float32)
    spectrum = cp.arange(1, dim + 1, dtype=cp.float32) ** -0.4
    made = cp.empty((count, dim), dtype=cp.float32)
    for first in range(0, count, 1 << 20):
        some = min(1 << 20, count - first)
        noise = 0.6 * random.standard_normal((some, dim), dtype=cp.float32)
        made[first : first + some] = (middle[random.integers(0, centres, some)] + noise) * spectrum + 0.3
    return made


KINDS: dict[str, Callable[[int, int, int], Any]] = {
    "clustered": clustered,
    "isotropic": lambda count, dim, seed: cp.random.default_rng(seed).standard_normal((count, dim), dtype=cp.float32),
    "near-duplicate": lambda count, dim, seed: (
        clustered(1000, dim, 5)[cp.random.default_rng(seed).integers(0, 1000, count)]
        + 0.01 * cp.random.default_rng(seed + 1).standard_normal((count, dim), dtype=cp.float32)
    ),
}


def timed(search: Callable[[], Any], before: Callable[[], Any] = lambda: None, fewest: int = CALLS) -> float:
    """Median microseconds by events on the current stream."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < fewest or (len(took) < CALLS and time.perf_counter() - began < MOST_S):
        before()
        first, last = cp.cuda.Event(), cp.cuda.Event()
        first.record()
        search()
        last.record()
        last.synchronize()
        took.append(cp.cuda.get_elapsed_time(first, last) * 1e3)
    return round(median(took), 1)


def called(search: Callable[[], Any]) -> float:
    """Median microseconds by the host's clock."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < FEWEST or (len(took) < CALLS and time.perf_counter() - began < MOST_S):
        cp.cuda.Device().synchronize()
        start = time.perf_counter_ns()
        search()
        cp.cuda.Device().synchronize()
        took.append((time.perf_counter_ns() - start) / 1e3)
    return round(median(took), 1)


def truth(rows: Any, queries: Any, k: int) -> Neighbors:
    """The definition's answer for l2; ``rows`` and ``queries`` on the GPU."""
    asked = cp.asnumpy(queries).astype(np.float64)
    found: list[Neighbors] = []
    for query in queries.astype(cp.float64):
        sums = cp.concatenate(
            [
                ((rows[first : first + STEP].astype(cp.float64) - query) ** 2).sum(axis=1)
                for first in range(0, len(rows), STEP)
            ]
        )
        last = float(cp.partition(sums, k - 1)[k - 1])
        near = cp.flatnonzero(sums <= last * (1 + MARGIN))
        values = definition.distances(cp.asnumpy(rows[near]), asked[len(found)][None], "l2")
        best = definition.select(values, k, "l2")
        found.append(Neighbors(cp.asnumpy(near)[best.ids], best.distances))
    return Neighbors(np.concatenate([one.ids for one in found]), np.concatenate([one.distances for one in found]))


def graph_of(index: ExactIndex, queries: Any, k: int) -> Callable[[], Any]:
    """A search, captured."""
    stream = cp.cuda.get_current_stream()
    out = cp.empty((len(queries), k), dtype=cp.int64), cp.empty((len(queries), k))
    index.search(queries, k, out=out)
    stream.synchronize()
    stream.begin_capture()
    index.search(queries, k, out=out)
    captured = stream.end_capture()

    def replay(_kept: Any = out) -> None:  # which the graph writes to
        captured.launch(stream)

    return replay


def line(index: ExactIndex, expected: Neighbors, queries: Any, k: int, peers: dict[str, Any]) -> dict[str, Any]:
    """One shape: ours, peers, and whether ours is right, for the queries of ``expected``."""
    captured = graph_of(index, queries, k)
    flushed = cp.empty(1 << 26, dtype=cp.float32)
    found = index.search(queries, k)
    some = min(len(queries), len(expected.ids))
    ids, values = cp.asnumpy(found.ids[:some]), cp.asnumpy(found.distances[:some])
    wrong = int(
        (ids != expected.ids[:some]).any(axis=1).sum() + (values != expected.distances[:some]).any(axis=1).sum()
    )
    made: dict[str, Any] = {
        "rows": index.shape[0], "queries": len(queries), "k": k, "path": " ".join(found.certificate.path), "graph_us": timed(captured),
        "cold_us": timed(captured, lambda: flushed.fill(1)), "call_us": called(lambda: index.search(queries, k)),
        "proof_us": called(lambda: index.search(queries, k).certificate.margin),
        "by_all_rows": int((found.certificate.computed == index.shape[0]).sum()), "wrong": wrong,
    }  # fmt: skip
    for name, peer in peers.items():
        try:
            peer.search(queries, k)
            made[f"{name}_us"] = timed(lambda peer=peer: peer.search(queries, k), fewest=FEWEST)
        except (KnnscopeError, RuntimeError, cp.cuda.memory.OutOfMemoryError) as error:
            made[f"{name}_us"] = str(error).splitlines()[0][:80]
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="75000,1000000")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("-k", default="10", help="one or several")
    parser.add_argument("--batches", default="1,4,16,100,1000,10000")
    parser.add_argument("--data", choices=tuple(KINDS), default="clustered")
    parser.add_argument("--vectors", nargs=2, type=Path, help="rows and queries, .npy, instead of made ones")
    parser.add_argument("--peers", default="torch-cuda,cuvs")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines: list[dict[str, Any]] = []
    builds: list[dict[str, Any]] = []
    with cp.cuda.Stream(non_blocking=True) as stream:
        if any(name in args.peers for name in ("torch", "flashlib", "certex")):
            import torch  # these work on a stream of its own, which events of ours would not wait for

            torch.cuda.set_stream(torch.cuda.ExternalStream(stream.ptr))
        for count in map(int, args.rows.split(",")):
            if args.vectors:
                rows, queries = (cp.asarray(np.load(path), dtype=cp.float32) for path in args.vectors)
                rows = rows[:count]
            else:
                rows, queries = KINDS[args.data](count, args.dim, 3), KINDS[args.data](10_000, args.dim, 4)
            ExactIndex(rows, device="cuda")  # compiles
            began = time.perf_counter()
            index = ExactIndex(rows, device="cuda")
            took = time.perf_counter() - began
            builds.append(
                {
                    "rows": len(rows),
                    "s": round(took, 3),
                    "bytes_a_row": round(index.nbytes / len(rows), 1),
                    "levels": index.levels,
                }
            )
            print(builds[-1], flush=True)
            names = [name for name in args.peers.split(",") if name]
            host = cp.asnumpy(rows if names else rows[:0])
            peers = {}
            for name in names:
                if why := catalog.problem(name):
                    print(f"{name}: {why}")
                    continue
                peers[name] = engines.build(catalog.load(name), host, "l2", name).raw
            for k in map(int, args.k.split(",")):
                expected = truth(rows, queries[:CHECKED], k)
                for size in map(int, args.batches.split(",")):
                    lines.append(line(index, expected, queries[:size], k, peers))
                    print(json.dumps(lines[-1]), flush=True)
            del index, peers, rows
            cp.get_default_memory_pool().free_all_blocks()
    if args.out:
        name = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        facts = {
            "gpu": name,
            "commit": environment.commit(),
            "data": args.vectors[0].name if args.vectors else args.data,
            "dim": int(queries.shape[1]),
            "builds": builds,
            "lines": lines,
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
