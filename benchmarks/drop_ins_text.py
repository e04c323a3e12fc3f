"""``semantic_search`` and ``paraphrase_mining_embeddings``: Sentence Transformers' and knnscope's, in one run: CPU time, by turns.

    .venv-dropins/bin/python -m benchmarks.drop_ins_text [--rows 75000] [--mined 20000] [--k 10] [--rounds 5] [--out FILE]

The environment is that of ``./dev test-dropins``. Rows are synthetic text. *index* is a search in an index that is there already, whose building is told
beside it; *embeddings* is a search that builds one for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ["KNNSCOPE_COMPILE"] = "wait"
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import torch
from sentence_transformers import util

from knnscope import environment
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.sentence_transformers import paraphrase_mining_embeddings, semantic_search

BATCHES = (1, 10, 100, 1000)


def by_turns(rounds: int, calls: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds of CPU time of each call, each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - began))
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--mined", type=int, default=20_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = registry.load(f"synthetic:text,rows={args.rows},queries={max(BATCHES)}")[0]
    rows, queries = (torch.from_numpy(part.values.copy()) for part in (data.documents, data.queries))
    index = ExactIndex(rows, "cosine", threads=1).wait()
    times = {"build": by_turns(args.rounds, {"index": lambda: ExactIndex(rows, "cosine", threads=1).wait()})}
    for batch in BATCHES:
        some, how = queries[:batch], {"top_k": args.k}
        calls = {
            "host": lambda some=some, how=how: util.semantic_search(some, rows, **how),
            "embeddings": lambda some=some, how=how: semantic_search(some, rows, **how),
            "index": lambda some=some, how=how: semantic_search(some, index, **how),
        }
        calls["embeddings"](), calls["index"]()  # compiles
        times[f"{batch} queries"] = by_turns(args.rounds, calls)
    few = rows[: args.mined]
    mining = {
        "host": lambda: util.paraphrase_mining_embeddings(few, top_k=args.k),
        "embeddings": lambda: paraphrase_mining_embeddings(few, top_k=args.k),
    }
    mining["embeddings"]()
    times["mining"] = by_turns(args.rounds, mining)
    print(f"{args.rows:,} rows x {rows.shape[1]}, k = {args.k}, mining of {args.mined:,}: CPU milliseconds, medians")
    for what, found in times.items():
        said = ", ".join(f"{name} {median(one):,.1f}" for name, one in found.items())
        print(f"{what:>12}: {said}")
    if args.out:
        hosts = {name: version(name) for name in ("sentence-transformers", "torch")}
        facts = {
            "rows": args.rows,
            "mined": args.mined,
            "k": args.k,
            "milliseconds": times,
            "hosts": hosts,
            "environment": environment.collect(),
        }
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
