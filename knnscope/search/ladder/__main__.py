"""One version of the search as a program of its own, to put any profiler before.

python -m knnscope.search.ladder RUNG [--rows N] [--dim D] [-k K] [--repeat N] [--device cpu|cuda]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from knnscope import annotate
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError, require
from knnscope.records import VectorDataset
from knnscope.search.device import gpu_problem
from knnscope.search.engine import check_k
from knnscope.search.ladder import RUNGS, make
from knnscope.search.ladder.verbose import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Search, and print the nearest rows and the median time."""
    args = _parser().parse_args(argv)
    if args.rung == "verbose":
        print(explain())  # noqa: T201
        return 0
    try:
        print(run(args.rung, args.rows, args.dim, args.k, args.repeat, args.device))  # noqa: T201
    except KnnscopeError as error:
        print(f"knnscope.search.ladder: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def run(name: str, rows: int, dim: int, k: int, repeat: int, device: str | None) -> str:
    """A sentence: where, how long, which rows.

    Raises:
        KnnscopeError: no such shape, or no GPU where one is needed.
    """
    dataset, _ = registry.load(f"synthetic:text,rows={rows},dim={dim},queries=1")
    assert isinstance(dataset, VectorDataset)
    assert dataset.queries is not None
    values, query = (np.ascontiguousarray(part.values, np.float32) for part in (dataset.documents, dataset.queries))
    check_k(k, rows)
    rung = make(name, _module(name, device))
    shape = {"rows": rows, "dim": dim, "k": k, "batch": 1}
    with annotate.phase("load", name, **shape):
        rung.load(values)
    with annotate.phase("build", name, **shape):
        rung.build(k)
    ready, times, ids = rung.ready(query[0]), [], []
    for _ in range(repeat):
        start = time.perf_counter_ns()
        with annotate.phase("search", name, **shape):
            ids = rung.copy_back(rung.search(ready, k))
        times.append(time.perf_counter_ns() - start)
    where = "GPU" if rung.on_gpu else "CPU"
    return (
        f"{name} on the {where}, {rows:,} rows of {dim}: first {times[0] / 1e6:.3f} ms, "
        f"median of {repeat} {median(times) / 1e6:.3f} ms; nearest rows {ids}"
    )


def _module(name: str, device: str | None) -> Any:
    """CuPy or NumPy.

    Raises:
        KnnscopeError: the rung or the caller wants a GPU, and there is none.
    """
    problem = None if device == "cpu" else gpu_problem()
    if device == "cuda" and problem:
        raise KnnscopeError(problem)
    cupy = device != "cpu" and problem is None
    if make(name, np).gpu and not cupy:
        raise KnnscopeError(f"{name} needs a GPU" + (f": {problem}" if problem else "; leave out --device cpu"))
    return require("cupy", "cuda13") if cupy else np


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m knnscope.search.ladder", description=__doc__)
    parser.add_argument("rung", metavar="RUNG", choices=("verbose", *RUNGS), help=f"verbose, {', '.join(RUNGS)}")
    parser.add_argument("--rows", type=_positive, default=75_000, metavar="N", help="generated rows (default 75,000)")
    parser.add_argument("--dim", type=_positive, default=384, metavar="D", help="components of a row (default 384)")
    parser.add_argument("-k", type=_positive, default=3, metavar="K", help="neighbors (default 3)")
    parser.add_argument("--repeat", type=_positive, default=3, metavar="N", help="searches (default 3)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
