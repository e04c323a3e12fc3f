"""Certified answers against an independent checker: five kinds of data at 75,000 rows, 1,000,000 rows, vectors of WordNet.

    python -m benchmarks.certified_answers [--wordnet DIR] [--out benchmarks/results/certified-answers.json]

The checker (tests/oracle.py) has distance code of its own: float64 sums choose, plain Python ranks, exact rationals judge gaps below
1e-12. Every isa of products that this processor has, l2, ip and cosine.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import ExactIndex, environment
from knnscope.api.workload import Workload
from knnscope.certified.cpu import dispatch
from knnscope.datasets import registry
from knnscope.datasets.beir import Selection
from tests import oracle

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

K = 10


def check(name: str, rows: Any, queries: Any, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    """Mismatches of every isa of products, for all queries at once and for the first ten one by one."""
    found = []
    for metric in metrics:
        expected = [oracle.answer(rows, query, K, metric) for query in queries]
        for isa in dispatch.available():
            index = ExactIndex(rows, metric, device=f"cpu:{isa}")
            answer = index.search(queries, K)
            got = [(a.tolist(), d.tolist()) for a, d in zip(answer.ids, answer.distances, strict=True)]
            single = [index.search(queries[i : i + 1], K) for i in range(min(10, len(queries)))]
            alone = [(s.ids[0].tolist(), s.distances[0].tolist()) for s in single]
            wrong = sum(g != e for g, e in zip(got, expected, strict=True)) + sum(
                g != e for g, e in zip(alone, expected, strict=False)
            )
            proof = answer.certificate
            found.append(
                {
                    "data": name,
                    "rows": len(rows),
                    "queries": len(queries),
                    "metric": metric,
                    "isa": isa,
                    "path": proof.path,
                    "mismatches": wrong,
                    "candidates_median": int(np.median(proof.candidates)),
                    "candidates_most": int(proof.candidates.max()),
                    "computed_median": int(np.median(proof.computed)),
                }
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--million", type=int, default=200, help="queries over 1,000,000 rows; 0 to leave out")
    parser.add_argument("--wordnet", metavar="DIR", help="where WordNet's files lie")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-answers.json"))
    args = parser.parse_args()
    found = []
    for data in ("text", "isotropic", "near-duplicate", "large-norm", "ties"):
        dataset, _ = registry.load(f"synthetic:{data},rows=75000,queries={args.queries}")
        found += check(data, dataset.documents.values, dataset.queries.values, ("l2", "ip", "cosine"))
    if args.wordnet:
        workload = Workload("wordnet", registry.DatasetOptions(Selection(limit=75_000), args.wordnet))
        asked = workload.query_vectors(list(range(args.queries)))
        found += check("wordnet, all-MiniLM-L6-v2", workload.documents.values, asked, ("l2", "ip", "cosine"))
    if args.million:
        dataset, _ = registry.load(f"synthetic:text,rows=1000000,queries={args.million}")
        found += check("text", dataset.documents.values, dataset.queries.values, ("l2",))
    total = sum(f["mismatches"] for f in found)
    print(f"{total} mismatches")
    facts = {"mismatches": total, "environment": environment.collect(), "checks": found}
    args.out.write_text(json.dumps(facts, indent=1) + "\n")
    raise SystemExit(bool(total))


if __name__ == "__main__":
    main()
