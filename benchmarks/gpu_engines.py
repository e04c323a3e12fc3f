"""Every GPU engine, host to host and device resident, beside the fastest CPU ones: 75,000 and 1,000,000 x 384 float32.

    python benchmarks/gpu_engines.py --rows 75000 [--out benchmarks/results]

Writes compare-gpu-ROWS/results.jsonl and environment.json, and prints the report. Data are clustered vectors
(synthetic:text, norms about 10), 1,000 queries, k 3 and 10, batches 1, 10, 100, 1,000.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from knnscope import threads
from knnscope.analysis import run as runs
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.bench import session
from knnscope.bench.plan import Options
from knnscope.bench.task import Task
from knnscope.datasets import registry
from knnscope.report import comparison
from knnscope.search import catalog
from knnscope.store import make_folder


def main() -> None:
    """Measure one size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engines", default="faiss,numpy,cupy,cuvs,faiss-gpu,faiss-gpu-cuvs,torch-cuda,flashlib")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    engines = args.engines.split(",")
    for name in engines:
        catalog.load(name)  # one that is missing ends it here
    dataset, _ = registry.load(f"synthetic:text,rows={args.rows},queries=1000")
    task = Task(dataset.name, dataset.documents.values, dataset.queries.values, "l2")
    grid = session.Grid(engines, (3, 10), (1, 10, 100, 1000))
    options = Options(threads.usable(), rounds=args.rounds, seconds=args.seconds)
    measured = session.measure(task, grid, options)
    folder = make_folder(args.out / f"compare-gpu-{args.rows}")
    facts = CompareFacts(queries=len(task.queries), interrupted=measured.interrupted)
    text = comparison.text(runs.save(ComparisonRun(tuple(measured.rows), measured.environment, facts), folder))
    (folder / "report.txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
