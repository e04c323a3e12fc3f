"""The same engine twice, each in a process of its own: how often is a verdict given where there is nothing to tell?

    python benchmarks/same_engine.py [--runs 10] [--out benchmarks/results/same-engine.json]

Within a run every round pairs both, so drift and bursts cancel. What stays for the life of a process (where its memory lies, how its
threads were placed) does not: the spread of these ratios is why verdict.MATTERS is what it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from knnscope import environment, threads
from knnscope.analysis import statistics, verdict
from knnscope.bench import session
from knnscope.bench.plan import Options
from knnscope.bench.task import Task
from knnscope.datasets import registry
from knnscope.search import catalog

ENGINES = ("numpy", "faiss")
BATCHES = (1, 10, 100)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/same-engine.json"))
    args = parser.parse_args()
    dataset, _ = registry.load(f"synthetic:text,rows={args.rows},queries=200")
    task = Task("synthetic:text", dataset.documents.values, dataset.queries.values, "l2")
    for name in ENGINES:
        catalog.ENGINES[f"{name} again"] = catalog.ENGINES[name]
    grid = session.Grid([n for name in ENGINES for n in (name, f"{name} again")], (10,), BATCHES)
    pairs = []
    for run in range(args.runs):
        options = Options(threads.usable(), seconds=5, seed=run, cold=False)
        rows = session.measure(task, grid, options, ceilings=False).rows
        hot = {(r.engine, r.batch): r for r in rows if r.cache == "hot"}
        for name in ENGINES:
            for batch in BATCHES:
                a, b = hot[name, batch], hot[f"{name} again", batch]
                c = statistics.compare(a.samples_ns, b.samples_ns, a.rounds_a_process)
                leader, other = sorted((a, b), key=lambda r: r.median_ns)
                pairs.append(
                    {
                        "run": run,
                        "engine": name,
                        "batch": batch,
                        "ratio": round(c.ratio, 4),
                        "p": c.p,
                        "test": c.verdict != "cannot tell",
                        "verdict": verdict.rival(leader, other).significant,
                    }
                )
                print(pairs[-1], flush=True)
    off = np.array([max(p["ratio"], 1 / p["ratio"]) - 1 for p in pairs])
    summary = {
        "pairs": len(pairs),
        "test alone says they differ": sum(p["test"] for p in pairs),
        "verdict says they differ": sum(p["verdict"] for p in pairs),
        "ratio off by, median": round(float(np.median(off)), 4),
        "ratio off by, 95%": round(float(np.quantile(off, 0.95)), 4),
        "ratio off by, largest": round(float(off.max()), 4),
    }
    print(json.dumps(summary, indent=2))
    args.out.write_text(
        json.dumps({"summary": summary, "pairs": pairs, "environment": environment.collect()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
