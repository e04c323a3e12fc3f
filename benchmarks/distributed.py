"""What shards on Dask workers cost beside the search itself, on one machine: by turns with one index over all rows, in one run.

    python -m benchmarks.distributed [--rows 100000] [--rounds 30] [--out benchmarks/results/distributed.json]

Clustered text x 384, k = 10, workers of one thread each, the index of one thread. Wall time of a call; CPU time of the client with the scheduler, which share
a process here, and of the workers (/proc, 10 ms steps, so over all calls of a case), less what they take while nobody asks: Dask's own watching. Wall
times are medians and the least over rounds; CPU times are means. Then the parts that the model
of docs/scale.md has: a task a shard that does nothing, by shards; an answer's bytes; merging, by shards, queries and k.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ["KNNSCOPE_COMPILE"] = "wait"

import numpy as np

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.distributed import DaskIndex, DaskOptions, shards, tasks
from knnscope.distributed.cluster import local_cluster
from knnscope.records import Neighbors

DIM, K = 384, 10
WORKERS = (1, 2, 4)
BATCHES = (1, 100, 1000)
TASKS = (1, 2, 4, 8, 16)
MERGED = ((4, 100, 10), (4, 1000, 10), (16, 1000, 10), (64, 1000, 10), (16, 100, 100), (64, 100, 100))
IDLE, WARM = 3.0, 1.0
"""Seconds: without a call, to see what workers take anyway; of calls before those that count."""
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pids: list[int]) -> float:
    """CPU seconds of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def idle(pids: list[int]) -> float:
    """CPU seconds a second that processes take, and this one, while nobody asks."""
    before = cpu_of(pids)
    time.sleep(IDLE)
    return (cpu_of(pids) - before) / IDLE


def timed(ask: Callable[[], Any], rounds: int, pids: list[int], background: float = 0.0) -> dict[str, float]:
    """Median wall, and mean CPU milliseconds of a call: of this process, and of others, beside what these take anyway."""
    until = time.perf_counter() + WARM
    while time.perf_counter() < until:
        ask()
    walls, began, others = [], time.process_time(), cpu_of(pids)
    for _ in range(rounds):
        at = time.perf_counter()
        ask()
        walls.append(time.perf_counter() - at)
    own, theirs = time.process_time() - began, cpu_of(pids) - others - background * sum(walls)
    return {
        "wall_ms": round(median(walls) * 1e3, 3),
        "least_wall_ms": round(min(walls) * 1e3, 3),
        "own_cpu_ms": round(own / rounds * 1e3, 3),
        "workers_cpu_ms": round(theirs / rounds * 1e3, 3),
    }


def cases(rows: np.ndarray, queries: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """One index and shards on workers, by turns."""
    from distributed import Client

    whole, found = ExactIndex(rows, threads=1).wait(), []
    for workers in WORKERS:
        with local_cluster(workers, 1) as cluster, Client(cluster) as client:
            pids = list(client.run(os.getpid).values())
            began = time.perf_counter()
            index = DaskIndex(client, rows)
            built = time.perf_counter() - began
            index.search(queries, K)
            background = idle(pids)
            for batch in BATCHES:
                some = queries[:batch]
                answer, right = index.search(some, K), whole.search(some, K)
                same = bool((answer.ids == right.ids).all() and (answer.distances == right.distances).all())
                count = rounds if batch < 1000 else max(3, rounds // 6)
                parts: dict[str, list[dict[str, float]]] = {"one_index": [], "shards": []}
                for _ in range(3):
                    parts["one_index"].append(timed(lambda q=some: whole.search(q, K), count, []))
                    parts["shards"].append(timed(lambda q=some, i=index: i.search(q, K), count, pids, background))
                line = {
                    "workers": workers,
                    "queries": batch,
                    "same_bits": same,
                    "build_s": round(built, 2),
                    "idle_cpu": round(background, 3),
                }
                line |= {
                    name: {key: round(median(one[key] for one in all_), 3) for key in all_[0]}
                    for name, all_ in parts.items()
                }
                found.append(line)
                print(line, flush=True)
    return found


def calls(rows: np.ndarray, rounds: int) -> list[dict[str, Any]]:
    """Tasks that only say what they are, one a shard."""
    from distributed import Client

    found = []
    with local_cluster(2, 1) as cluster, Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        indexes = {count: DaskIndex(client, rows[:8000], options=DaskOptions(shards=count)) for count in TASKS}
        background = idle(pids)
        for _ in range(3):
            for count, index in indexes.items():
                ask = lambda i=index, n=count: i._asked(tasks.about, [()] * n)
                found.append({"shards": count, **timed(ask, 3 * rounds, pids, background)})
    lines = []
    for count in TASKS:
        own = [one for one in found if one["shards"] == count]
        lines.append({key: round(median(one[key] for one in own), 3) for key in own[0]})
        print(lines[-1], flush=True)
    return lines


def merging(rounds: int) -> list[dict[str, Any]]:
    """The client's last step, and the bytes that it takes from the workers."""
    random, lines = np.random.default_rng(0), []
    for count, queries, k in MERGED:
        rows = random.standard_normal((count * 2 * k, 8)).astype(np.float32)
        found: list[Neighbors] = [
            ExactIndex(rows[some.start : some.stop], ids=np.arange(some.start, some.stop)).search(
                random.standard_normal((queries, 8)).astype(np.float32), k
            )
            for some in shards.split(len(rows), count)
        ]
        times = []
        for _ in range(rounds):
            began = time.process_time()
            shards.merged(found, k, "l2")
            times.append(time.process_time() - began)
        size = len(pickle.dumps(found[0], protocol=5))
        lines.append(
            {"shards": count, "queries": queries, "k": k, "cpu_ms": round(median(times) * 1e3, 3), "answer_bytes": size}
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data, _ = registry.load(f"synthetic:text,rows={args.rows},dim={DIM},queries={max(BATCHES)}")
    rows, queries = (np.ascontiguousarray(part.values, dtype=np.float32) for part in (data.documents, data.queries))
    load = os.getloadavg()[0]
    index = ExactIndex(rows, threads=1).wait()
    facts = {
        "data": "synthetic:text", "rows": len(rows), "dim": DIM, "k": K, "rounds": args.rounds, "load_before": load,
        "bytes_a_row": round(index.nbytes / len(rows), 1), "merging": merging(args.rounds), "tasks": calls(rows, args.rounds),
        "cases": cases(rows, queries, args.rounds), "load_after": os.getloadavg()[0],
        "environment": environment.collect(("numpy", "llvmlite", "dask", "distributed")),
    }  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
