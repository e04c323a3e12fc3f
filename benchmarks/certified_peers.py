"""Certified search of this checkout and of another commit against their peers, in one run: CPU time of one thread, caches hot, by turns.

    python -m benchmarks.certified_peers --data runs/wordnet75 [--base 2391b6d] [--seconds 300] [--out FILE]
        [--base-needs FOLDER]       # pip install --target FOLDER --no-deps numba llvmlite: what commits before 3a89a75 compile with
    python -m benchmarks.certified_peers --data synthetic:text,rows=1000000,queries=1000

Each engine stands in a process of its own with the same vectors, one thread for all libraries. Case by case and round by round all are asked, in
another order each round, each call with other queries; the ratio told is the median over rounds of that engine's CPU time to ours of the same
round. Faiss stands there tuned twice, distances one by one and matrix products, with the OpenBLAS kernels that are fastest here ("tuned": the
better of the two in that round); Panorama behind principal components with as many levels as are fastest here. An engine is not asked for what
would take it more than ``DEAR`` seconds a call. "same": in so many of the rows that it found it agrees with the certified answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.certified_cpu import best_coretype
from benchmarks.tuned_faiss import CORETYPE
from knnscope import environment, threads
from knnscope.search import catalog

ROOT = Path(__file__).resolve().parent.parent
CASES = ((1, 1), (1, 10), (1, 100), (4, 10), (10, 10), (100, 10), (1000, 10), (100, 100))
"""Queries and k."""
TUNED = {"faiss-direct": "Direct", "faiss-blas": "Blas"}
PEERS = ("faiss-panorama", "usearch", "numpy", "torch")
DEAR, TURN, ROUNDS = 8.0, 0.06, 12
"""Seconds of a call that are too many; seconds that a turn fills; rounds at most."""
ASKED_FOR = {("faiss-panorama", 1, 10): 3.0, ("faiss-panorama", 100, 10): 15.0, ("tuned", 1, 10): 10.0}
"""Ratios that were asked for, of 75,000 rows, by engine, queries and k."""
CHILD = """
import json, sys, time
import numpy as np
name, folder = sys.argv[1:3]
rows, queries = np.load(folder + "/rows.npy", mmap_mode="r"), np.load(folder + "/queries.npy")
if name in ("certified", "base"):
    from knnscope.certified.index import ExactIndex
    index = ExactIndex(rows, threads=1)
    search = lambda some, k: index.search(some, k).ids
else:
    if name in ("faiss-direct", "faiss-blas"):
        import benchmarks.tuned_faiss as tuned
        engine = tuned.Direct() if name == "faiss-direct" else tuned.Blas()
    else:
        from knnscope.search import catalog
        engine = catalog.load(name)
    index = engine.build(np.array(rows), "l2")
    search = lambda some, k: index.search(some, k).ids
print(json.dumps(getattr(index, "how", "")), flush=True)
for line in sys.stdin:
    batch, k, seconds, first, wanted = json.loads(line)
    some = [np.ascontiguousarray(queries[i : i + batch]) for i in range(0, len(queries) - batch + 1, batch)]
    found = search(some[first % len(some)], k)
    calls, began, cpu = 0, time.perf_counter(), time.process_time()
    while calls < 1 or (time.perf_counter() - began < seconds and calls < 500):
        calls += 1
        search(some[(first + calls) % len(some)], k)
    print(json.dumps([(time.process_time() - cpu) / calls, np.asarray(found).tolist() if wanted else None]), flush=True)
"""


class Child:
    """An engine with its vectors."""

    def __init__(self, name: str, folder: str, paths: list[Path], coretype: str) -> None:
        variables = {
            **threads.environment(1),
            "PYTHONPATH": os.pathsep.join(map(os.fspath, paths)),
            "KNNSCOPE_COMPILE": "wait",
            CORETYPE: coretype,
        }
        if coretype and name == "faiss-panorama":
            variables["OPENBLAS_CORETYPE"] = coretype
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, name, folder],
            cwd=paths[0], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ready(self) -> tuple[str, str]:
        """Wait until it is: how it computes, in words; and why it cannot, or nothing."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return str(json.loads(line)), ""
        assert self._process.stderr is not None
        return "", (self._process.stderr.read().strip().splitlines() or ["ended"])[-1]

    def ask(self, batch: int, k: int, first: int, wanted: bool) -> tuple[float, Any]:
        """CPU seconds a call, and ids of one where they are wanted."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([batch, k, TURN, first, wanted]) + "\n")
        self._process.stdin.flush()
        cpu, ids = json.loads(self._process.stdout.readline())
        return cpu, ids

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def alike(ids: list[list[int]], others: list[list[int]]) -> float:
    """Share of rows that stand in both answers."""
    pairs = list(zip(ids, others, strict=True))
    return sum(len(set(a) & set(b)) for a, b in pairs) / max(1, sum(len(a) for a, _ in pairs))


def measured(
    children: dict[str, Child], until: float
) -> tuple[dict[tuple[int, int], list[dict[str, float]]], dict[str, float]]:
    """CPU seconds of a call, case by case and round by round, by engine; and the smallest share of rows that agree, by engine."""
    found: dict[tuple[int, int], list[dict[str, float]]] = {case: [] for case in CASES}
    same: dict[str, float] = {}
    for number in range(ROUNDS):
        for batch, k in CASES:
            if time.monotonic() > until:
                return found, same
            order = list(children)
            random.Random(f"{number} {batch} {k}").shuffle(order)
            line: dict[str, float] = {}
            answers: dict[str, Any] = {}
            for name in order:
                known = [
                    one[name] * batch / other
                    for (other, _), lines in found.items()
                    for one in lines
                    if name in one and other <= batch
                ]
                if name not in ("certified", "base") and known and min(known) > DEAR:
                    continue
                line[name], answers[name] = children[name].ask(batch, k, 7 * number, number == 0)
            found[batch, k].append(line)
            for name, ids in answers.items():
                if ids is not None:
                    same[name] = min(same.get(name, 1.0), alike(ids, answers["certified"]))
    return found, same


def table(found: dict[tuple[int, int], list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Medians: ours in milliseconds, and how many times as long each other engine takes."""
    lines = []
    for (batch, k), rounds in found.items():
        if not rounds:
            continue
        for one in rounds:
            if tuned := [one[name] for name in TUNED if name in one]:
                one["tuned"] = min(tuned)
        names = sorted({name for one in rounds for name in one} - {"certified"})
        ratios = {n: round(median(one[n] / one["certified"] for one in rounds if n in one), 3) for n in names}
        ours = round(median(one["certified"] for one in rounds) * 1e3, 4)
        lines.append({"queries": batch, "k": k, "certified_ms": ours, "rounds": len(rounds), "times_as_long": ratios})
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        default="synthetic:text,rows=75000,queries=1000",
        help="vectors with queries: a data set's name, or a folder",
    )
    parser.add_argument("--base", default="2391b6d", help="another commit")
    parser.add_argument(
        "--base-needs",
        type=Path,
        nargs="*",
        default=[],
        help="folders of libraries that only that commit needs, as Numba",
    )
    parser.add_argument(
        "--engines", nargs="+", default=[*TUNED, *PEERS], help="peers that are asked, as far as they are installed"
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import numpy as np

    from knnscope.datasets import registry

    data, _ = registry.load(args.data)
    coretype = best_coretype()
    names = ["certified", *(name for name in args.engines if name in TUNED or catalog.problem(name) is None)]
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/rows.npy", np.asarray(data.documents.values, dtype=np.float32))
        np.save(f"{folder}/queries.npy", np.asarray(data.queries.values, dtype=np.float32))
        base = Path(folder) / "base"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--quiet", base, args.base], check=True)
        try:
            children = {name: Child(name, folder, [ROOT], coretype) for name in names}
            children["base"] = Child("base", folder, [base, *args.base_needs], coretype)
            how = {}
            for name, child in list(children.items()):
                how[name], why = child.ready()
                if why:
                    print(f"not asked: {name}: {why}")
                    children.pop(name)
            found, same = measured(children, time.monotonic() + args.seconds)
            for child in children.values():
                child.close()
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", base], check=True)
    lines = table(found)
    rows, dim = data.documents.values.shape
    print(
        f"{Path(args.data).name}: {rows:,} rows x {dim}; CPU time of one thread, ours in ms, others in times of it; k"
    )
    for line in lines:
        asked = (
            {n: ASKED_FOR.get((n, line["queries"], line["k"])) for n in line["times_as_long"]} if rows < 100_000 else {}
        )
        print(
            f"{line['queries']:>5} queries, k = {line['k']:>3}: {line['certified_ms']:9.3f} ms; "
            + ", ".join(
                f"{n} {v}{f' (asked {asked[n]})' if asked.get(n) else ''}" for n, v in line["times_as_long"].items()
            )
        )
    print("same rows as ours:", {name: round(share, 5) for name, share in same.items()})
    if args.out:
        facts = {
            "data": Path(args.data).name, "rows": rows, "dim": dim, "base": args.base, "coretype": coretype or "as installed", "how": how,
            "same": same, "environment": environment.collect(), "cases": lines,
        }  # fmt: skip
        args.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
