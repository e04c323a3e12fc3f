"""Certified search on 1, 2, 4, 8 and 16 threads, as far as there are cores: wall and CPU time, beside Faiss, NumPy and torch where installed.

    python -m benchmarks.certified_threads [--seconds 200] [--device cpu:vnni] [--batches 32 100 300] [--out benchmarks/results/certified-threads.json]

Clustered text of 75,000 and 1,000,000 rows x 384, k = 10, 1, 10, 100 and 1,000 queries, each call others. Every engine stands in a process of its own
that sets its number of threads by its own means (Faiss with the OpenBLAS kernels that are fastest here, as far as it has any to choose). They
are asked by turns, in another order each round, with a rest before each turn: threads of a peer may spin for 0.2 s after a call. Rounds end when
the time is over; the median over rounds is told. A peer is not asked for what would take it more than ``DEAR`` seconds a call. Needs what knnscope
needs, and nothing else: a peer that is missing is left out. Before all, answers of every number of threads are compared with each other, and some with
the definition.
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

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

DIM, K = 384, 10
SIZES, BATCHES, THREADS = (75_000, 1_000_000), (1, 10, 100, 1000), (1, 2, 4, 8, 16)
DEAR = 2.0
"""Seconds of a call that are too many."""
TURN = 0.1
"""Seconds that a turn of several calls fills."""
REST = 0.03
ROUNDS = 5
CHILD = """
import json, sys, time
import numpy as np
name, path, asked, device = sys.argv[1:5]
rows, queries = np.load(path, mmap_mode="r"), np.load(asked)
k = 10
if name == "certified":
    from knnscope.certified.index import ExactIndex
    index = ExactIndex(rows, device=device).wait()
    def search(some, threads):
        return index.search(some, k, threads=threads).ids
elif name == "faiss":
    import faiss
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    def search(some, threads):
        faiss.omp_set_num_threads(threads)
        return index.search(some, k)[1]
elif name == "torch":
    import torch
    x = torch.from_numpy(np.array(rows))
    squares = (x * x).sum(1)
    def search(some, threads):
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        step, found = max(1, (1 << 26) // len(x)), []
        for first in range(0, len(some), step):
            values = torch.addmm(squares, torch.from_numpy(some[first : first + step]), x.T, alpha=-2)
            found.append(values.topk(k, largest=False)[1])
        return torch.cat(found).numpy()
else:
    from threadpoolctl import ThreadpoolController
    x, blas = np.array(rows), ThreadpoolController()
    squares = np.einsum("ij,ij->i", x, x)
    def search(some, threads):
        with blas.limit(limits=threads, user_api="blas"):
            step, found = max(1, (1 << 26) // len(x)), []
            for first in range(0, len(some), step):
                values = squares - 2 * (some[first : first + step] @ x.T)
                near = np.argpartition(values, k, axis=1)[:, :k]
                order = np.take_along_axis(values, near, axis=1).argsort(axis=1)
                found.append(np.take_along_axis(near, order, axis=1))
            return np.concatenate(found)
print("ready", flush=True)
for line in sys.stdin:
    batch, threads, seconds, first = json.loads(line)
    some = [np.ascontiguousarray(queries[i : i + batch]) for i in range(0, len(queries) - batch + 1, batch)]
    total = int(search(some[first % len(some)], threads).astype(np.int64).sum())
    calls, walls, began, cpu = 0, [], time.perf_counter(), time.process_time()
    while calls < 1 or (time.perf_counter() - began < seconds and calls < 1000):
        calls += 1
        at = time.perf_counter()
        search(some[(first + calls) % len(some)], threads)
        walls.append(time.perf_counter() - at)
    cpu = (time.process_time() - cpu) / calls
    print(json.dumps([float(np.median(walls)), cpu, calls, total]), flush=True)
"""


class Child:
    """An engine with its rows."""

    def __init__(self, name: str, folder: str, rows: int, variables: dict[str, str], device: str) -> None:
        self._errors = Path(folder, f"{name}-{rows}.txt").open("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, name, f"{folder}/rows-{rows}.npy", f"{folder}/queries-{rows}.npy", device],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ready(self) -> str:
        """Wait until it is; why not, or nothing."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() == "ready":
            return ""
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["ended"])[-1]

    def ask(self, batch: int, threads: int, seconds: float, first: int) -> tuple[float, float, int, int]:
        """Wall and CPU seconds a call, calls, and a sum of ids."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([batch, threads, seconds, first]) + "\n")
        self._process.stdin.flush()
        wall, cpu, calls, total = json.loads(self._process.stdout.readline())
        return wall, cpu, calls, total

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()


def peers() -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Engines that can be asked, with variables of their own; and why others cannot."""
    found, missing = {"certified": dict[str, str]()}, dict[str, str]()
    for name, module in (("faiss", "faiss"), ("numpy", "threadpoolctl"), ("torch", "torch")):
        tried = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
        if tried.returncode:
            missing[name] = (tried.stderr.strip().splitlines() or ["cannot be imported"])[-1]
            continue
        found[name] = {}
        if name == "faiss":
            from knnscope.search.engines import openblas

            kernels = openblas.fastest(DIM)
            found[name] = {openblas.VARIABLE: kernels} if kernels else {}
    return found, missing


def write(folder: str, rows: int) -> None:
    """Rows and queries, as files."""
    import numpy as np

    from knnscope.datasets import registry

    data, _ = registry.load(f"synthetic:text,rows={rows},queries=1000")
    np.save(f"{folder}/rows-{rows}.npy", data.documents.values)
    np.save(f"{folder}/queries-{rows}.npy", data.queries.values)


def check(folder: str, rows: int, threads: list[int], device: str) -> str:
    """Whether all numbers of threads give the same bits, which for some queries are those of the definition."""
    import numpy as np

    from knnscope.certified.index import ExactIndex
    from knnscope.search import definition

    values, queries = np.load(f"{folder}/rows-{rows}.npy"), np.load(f"{folder}/queries-{rows}.npy")[:200]
    index = ExactIndex(values, device=device).wait()
    defined = definition.search(values, queries[:20], K, "l2")
    for batch in (1, 4, 20, 200):
        first = None
        for count in threads:
            found = [
                index.search(queries[i : i + batch], K, threads=count) for i in range(0, min(200, 20 * batch), batch)
            ]
            answer = np.concatenate([f.ids for f in found]), np.concatenate([f.distances for f in found])
            first = first or answer
            if not all(np.array_equal(a, b) for a, b in zip(first, answer, strict=True)):
                return f"WRONG: {count} threads, batches of {batch}, other answers than {threads[0]}"
            if not (np.array_equal(answer[0][:20], defined.ids) and np.array_equal(answer[1][:20], defined.distances)):
                return f"WRONG: {count} threads, batches of {batch}, not the definition's"
    return "equal to the last bit, to each other and to the definition"


def measured(
    children: dict[str, Child], threads: list[int], batches: list[int], until: float
) -> dict[tuple[str, int, int], list[Any]]:
    """Wall and CPU seconds of a call, round by round, by engine, batch and threads."""
    found: dict[tuple[str, int, int], list[Any]] = {}
    for number in range(ROUNDS):
        cells = [(name, batch, count) for name in children for batch in batches for count in threads]
        random.Random(number).shuffle(cells)
        cells.sort(key=lambda cell: cell[1] if number == 0 else 0)  # at first few queries, to know who is dear
        for name, batch, count in cells:
            if time.monotonic() > until:
                return found
            known = [
                median(w for w, _ in lines) * batch / other
                for (who, other, many), lines in found.items()
                if who == name and many == count and batch / 10 <= other <= batch
            ]
            if name != "certified" and known and min(known) > DEAR:
                continue
            time.sleep(REST)
            wall, cpu, _, _ = children[name].ask(batch, count, TURN, 7 * number)
            found.setdefault((name, batch, count), []).append((wall, cpu))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=200, help="when rounds end")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--device", default="cpu", help="of certified search: cpu:vnni, cpu:avx2 and so on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-threads.json"))
    args = parser.parse_args()
    began = time.monotonic()
    from knnscope import environment
    from knnscope import threads as budgets

    cores = budgets.usable()
    threads = [count for count in THREADS if count <= cores]
    engines, missing = peers()
    lines: list[dict[str, Any]] = []
    text: list[str] = []
    answers: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place, rows in enumerate(args.rows):
            write(folder, rows)
            if rows <= 100_000:
                answers[rows] = check(folder, rows, threads, args.device)
            children = {name: Child(name, folder, rows, own, args.device) for name, own in engines.items()}
            for name, child in list(children.items()):
                if why := child.ready():
                    missing[name] = why
                    children.pop(name).close()
            left = began + args.seconds - time.monotonic()
            share = left * (0.4 if len(args.rows) - place > 1 else 1.0)
            found = measured(children, threads, args.batches, time.monotonic() + share)
            for child in children.values():
                child.close()
            for (name, batch, count), times in sorted(
                found.items(), key=lambda item: (item[0][1], item[0][0], item[0][2])
            ):
                lines.append({
                    "rows": rows, "engine": name, "queries": batch, "threads": count, "wall_ms": round(median(w for w, _ in times) * 1e3, 4),
                    "cpu_ms": round(median(c for _, c in times) * 1e3, 4), "rounds": len(times),
                })  # fmt: skip
            text += table(rows, [line for line in lines if line["rows"] == rows], threads)
    facts = {
        "cores": cores, "cpu": environment.cpu(), "libraries": environment.libraries(), "commit": environment.commit(), "k": K, "dim": DIM,
        "device": args.device, "missing": missing, "answers": {str(rows): said for rows, said in answers.items()}, "table": text, "cases": lines,
    }  # fmt: skip
    args.out.write_text(json.dumps(facts, indent=1) + "\n")
    print(environment.cpu()["model"], f"{cores} cores; answers:", answers)
    for name, why in missing.items():
        print(f"not asked: {name}: {why}")
    print("milliseconds a call, wall (CPU)")
    print("\n".join(text))


def table(rows: int, lines: list[dict[str, Any]], threads: list[int]) -> list[str]:
    """A line for each batch and engine."""
    text = [f"{rows:>9,} rows      threads:" + "".join(f"{count:>20}" for count in threads)]
    cells = {(line["queries"], line["engine"], line["threads"]): line for line in lines}
    for batch, name in sorted({(line["queries"], line["engine"]) for line in lines}):
        found = [cells.get((batch, name, count)) for count in threads]
        shown = [f"{one['wall_ms']:.3f} ({one['cpu_ms']:.3f})" if one else "-" for one in found]
        text.append(f"{batch:>6} queries {name:>10}" + "".join(f"{one:>20}" for one in shown))
    return text


if __name__ == "__main__":
    main()
