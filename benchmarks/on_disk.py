"""Rows that do not fit in memory: what building over their file takes, one query against reading its plane, and answers against float64.

    KNNSCOPE_COMPILE=wait python -m benchmarks.on_disk FILE.npy [--rows 24000000] [--memory 13GB] [--truth GT.npy] [--out benchmarks/results/on-disk.json]

Clustered text x 384 float32 is written to FILE where that is not there (24,000,000 rows: 37 GB), queries beside it, and stays. One process builds and
searches: its resident memory is looked at every 50 ms, pages of files included. A query is another each time, one a call, its rows in the system's cache
(asked once before). By turns with each the same threads read the bytes of the plane, whole words. Float64: products of all rows, block by block, leave
the rows whose values are within a millionth of the k-th; the definition ranks these. Nothing of certified search is in that.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import synthetic
from knnscope.progress import bar
from knnscope.search import definition

DIM, K, ASKED, THREADS = 384, 10, 20, 2
BLOCK = 16_384
"""Rows of a product in float64."""
NEAR, KEPT = 1e-6, 64


class Watched:
    """The largest resident memory of this process within it, bytes: in all, and what is no page of a file."""

    def __enter__(self) -> Watched:
        self.most = self.anonymous = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            with open("/proc/self/status") as status:
                found = {
                    line.split(":")[0]: int(line.split()[1]) << 10
                    for line in status
                    if line.startswith(("VmRSS", "RssAnon"))
                }
            self.most, self.anonymous = max(self.most, found["VmRSS"]), max(self.anonymous, found["RssAnon"])


def read(words: npt.NDArray[np.uint64]) -> None:
    """Read all words by all threads."""
    parts = [threading.Thread(target=np.bitwise_xor.reduce, args=(part,)) for part in np.array_split(words, THREADS)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()


def timed(work: Any) -> tuple[float, float]:
    """Seconds on the clock and of the processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def searched(index: ExactIndex, queries: npt.NDArray[np.float32]) -> dict[str, Any]:
    """One query a call, by turns with reading the plane."""
    plane = index._living.state.parts[0].segment.scanner.beside.plane
    words = plane.blocks.reshape(-1).view(np.uint64)
    cold = [timed(lambda query=query: index.search(query, K)) for query in queries]
    both = [(timed(lambda query=query: index.search(query, K)), timed(lambda: read(words))) for query in queries]
    found = index.search(queries, K)
    assert found.certificate is not None
    return {
        "plane_bytes": plane.nbytes,
        "first_time_s": round(median(wall for wall, _ in cold), 4),
        "query_s": round(median(ours[0] for ours, _ in both), 4),
        "query_cpu_s": round(median(ours[1] for ours, _ in both), 4),
        "reading_s": round(median(theirs[0] for _, theirs in both), 4),
        "reading_cpu_s": round(median(theirs[1] for _, theirs in both), 4),
        "ratio": round(median(ours[0] / theirs[0] for ours, theirs in both), 3),
        "ratio_cpu": round(median(ours[1] / theirs[1] for ours, theirs in both), 3),
        "least_query_s": round(min(ours[0] for ours, _ in both), 4),
        "least_reading_s": round(min(theirs[0] for _, theirs in both), 4),
        "rows_computed": int(np.median(found.certificate.computed)),
    }


def defined(
    path: Path, queries: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The k nearest rows of each query, by float64 alone."""
    rows, asked = np.load(path, mmap_mode="r"), queries.astype(np.float64)
    squares = (asked**2).sum(axis=1)
    bars = np.full(len(asked), np.inf)
    kept: list[list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]] = [[] for _ in asked]
    with bar(len(rows), "float64", "row", scale=True) as progress:
        for first in range(0, len(rows), BLOCK):
            if first % (64 * BLOCK) == 0:
                rows = np.load(path, mmap_mode="r")  # what was read is given back
            some = np.asarray(rows[first : first + BLOCK]).astype(np.float64)
            values = np.einsum("ij,ij->i", some, some)[:, None] - 2 * (some @ asked.T) + squares
            for number, column in enumerate(values.T):
                near = np.flatnonzero(column <= bars[number] * (1 + NEAR))
                if len(near):
                    kept[number].append((near + first, column[near]))
                    every = np.concatenate([some for _, some in kept[number]])
                    if len(every) >= k:
                        bars[number] = np.partition(every, k - 1)[k - 1]
                    if len(kept[number]) > KEPT:  # what was near at first is not any more
                        places = np.concatenate([some for some, _ in kept[number]])
                        left = every <= bars[number] * (1 + NEAR)
                        kept[number] = [(places[left], every[left])]
            progress.update(len(some))
    ids, distances = np.empty((len(asked), k), np.int64), np.empty((len(asked), k))
    for number in range(len(asked)):
        places, values = (np.concatenate(parts) for parts in zip(*kept[number], strict=True))
        left = np.sort(places[values <= bars[number] * (1 + NEAR)])
        found = definition.search(np.asarray(rows[left]), queries[number : number + 1], k, "l2")
        ids[number], distances[number] = left[found.ids[0]], found.distances[0]
    return ids, distances


def main() -> None:
    """Measure, print, and write after each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=24_000_000)
    parser.add_argument("--memory", default="13GB")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/on-disk.json"))
    parser.add_argument(
        "--truth", type=Path, help="ids of `knnscope truth` for the same queries, .npy: compared with float64 as well"
    )
    args = parser.parse_args()
    if not args.file.is_file():
        synthetic.write(synthetic.parse(f"synthetic:text,rows={args.rows},dim={DIM},queries=1000"), args.file)
    queries = np.load(args.file.with_name(f"{args.file.stem}-queries.npy"))[:ASKED]
    size = args.file.stat().st_size
    found: dict[str, Any] = {
        "rows": args.rows,
        "dim": DIM,
        "file_bytes": size,
        "k": K,
        "threads": THREADS,
        "memory": args.memory,
    }

    def keep(name: str, value: Any) -> None:
        found[name] = value
        print(name, value, flush=True)
        args.out.write_text(json.dumps({**found, "environment": environment.collect()}, indent=1) + "\n")

    few = np.array(np.load(args.file, mmap_mode="r")[:20_000])
    ExactIndex(few, threads=THREADS).wait().search(few[:1], K)  # compiled code is loaded
    with Watched() as watched:
        made: list[ExactIndex] = []
        wall, cpu = timed(lambda: made.append(ExactIndex.build(args.file, threads=THREADS, memory=args.memory)))
    index = made[0]
    building = {
        "s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "gb_per_s": round(size / wall / 1e9, 3),
        "gb_per_cpu_s": round(size / cpu / 1e9, 3),
    }
    keep(
        "build",
        {
            **building,
            "levels": index.levels,
            "kept_bytes": index.nbytes,
            "peak_resident_bytes": watched.most,
            "peak_anonymous_bytes": watched.anonymous,
        },
    )
    with Watched() as watched:
        index.search(queries[0], K)
        keep("search", searched(index, queries))
    keep("search_peak_resident_bytes", watched.most)
    answer = index.search(queries, K)
    known = np.load(args.truth)[:ASKED] if args.truth else answer.ids
    ids, distances = defined(args.file, queries, known.shape[1])
    keep("same_ids", bool(np.array_equal(answer.ids, ids[:, :K])))
    keep("same_distances", bool(np.array_equal(answer.distances, distances[:, :K])))
    if args.truth:
        keep("same_truth", {"k": known.shape[1], "ids": bool(np.array_equal(known, ids))})
    keep("queries_against_float64", ASKED)


if __name__ == "__main__":
    main()
