"""k-NN graphs: knnscope's against the exact ones of Faiss and scikit-learn, in one run: CPU time of one thread, by turns.

    python -m benchmarks.graph [--data runs/wordnet75/vectors.npy] [--rows 100000] [--k 15] [--share 4096] [--rounds 2] [--out FILE]

knnscope computes the whole graph each round. What the others cost is in proportion to the rows that they ask for, so they ask for ``--share`` of them
(0: for all), in another place each round, and their time is told for all. Faiss is asked for all of a share at once, which is its fastest. Where the
file has fewer rows than ``--rows``, the rest are its rows again with a little noise: vectors of the same kind. The lines that were asked are compared.
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
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from knnscope import environment
from knnscope.certified.index import ExactIndex

NOISE = 0.02
"""Of each component, for vectors of length 1 with 384 of them: 0.4 in all, as far as a near neighbor."""


def vectors(path: Path | None, rows: int) -> np.ndarray:
    """So many rows."""
    random = np.random.default_rng(0)
    if path is None:
        from knnscope.datasets import registry

        return np.asarray(registry.load(f"synthetic:text,rows={rows}")[0].documents.values, dtype=np.float32)
    found = np.load(path, mmap_mode="r")
    made = np.empty((rows, found.shape[1]), dtype=np.float32)
    for first in range(0, rows, len(found)):
        some = found[: rows - first]
        made[first : first + len(some)] = some
        if first:
            made[first : first + len(some)] += NOISE * random.standard_normal(some.shape, dtype=np.float32)
    return made


def peers(rows: np.ndarray) -> dict[str, Any]:
    """What each library does for some rows and k neighbors: its ids."""
    found: dict[str, Any] = {}
    try:
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows)
        found["faiss"] = lambda some, k: index.search(some, k)[1]
    except ImportError:
        print("not asked: faiss")
    try:
        from sklearn.neighbors import NearestNeighbors

        brute = NearestNeighbors(algorithm="brute", n_jobs=1).fit(rows)
        found["scikit-learn"] = lambda some, k: brute.kneighbors(some, k, return_distance=False)
    except ImportError:
        print("not asked: scikit-learn")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an .npy file of vectors (default: synthetic text)")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=15)
    parser.add_argument("--share", type=int, default=4096, help="rows that the others ask for; 0: all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = vectors(args.data, args.rows)
    share = args.share or len(rows)
    index = ExactIndex(rows, threads=1).wait()
    index.knn_graph(1)  # compiles
    others = peers(rows)
    times: dict[str, list[float]] = {name: [] for name in ("knnscope", *others)}
    same: dict[str, float] = {}
    for number in range(args.rounds):
        began = time.process_time()
        graph = index.knn_graph(args.k)
        times["knnscope"].append(time.process_time() - began)
        first = number * share % max(1, len(rows) - share + 1)
        for name, ask in others.items():
            began = time.process_time()
            ids = ask(rows[first : first + share], args.k + 1)
            times[name].append((time.process_time() - began) * len(rows) / share)
            lines = zip(
                ids.tolist(), graph.ids[first : first + share].tolist(), range(first, first + share), strict=True
            )
            alike = sum(len((set(line) - {row}) & set(own)) for line, own, row in lines)
            same[name] = min(same.get(name, 1.0), alike / (share * args.k))
    ratios = {
        name: round(median(one / ours for one, ours in zip(times[name], times["knnscope"], strict=True)), 2)
        for name in others
    }
    print(f"{len(rows):,} rows x {rows.shape[1]}, k = {args.k}: CPU seconds of one thread")
    for name, seconds in times.items():
        print(
            f"{name:>14} {median(seconds):8.1f}"
            + (f", {ratios[name]} times ours; of our neighbors it has {same[name]:.5f}" if name in ratios else "")
        )
    if args.out:
        facts = {
            "data": "synthetic text" if args.data is None else f"{args.data.parent.name}/{args.data.name}", "rows": len(rows), "dim": rows.shape[1],
            "k": args.k, "share": share, "seconds": times, "times_as_long": ratios, "same": same, "environment": environment.collect(),
        }  # fmt: skip
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
