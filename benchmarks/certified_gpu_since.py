"""Certified search on a GPU by two or more checkouts, or by one with other settings: event-timed replays by turns, ratios to the first.

    python -m benchmarks.certified_gpu_since OLD . .,knnscope.certified.cuda.wide.LEAST=32
        [--rows 75000,1000000] [--dim 384] [-k 10] [--batches 1,1000,10000] [--data clustered] [--rounds 7] [--out FILE]

A side is a folder with a checkout, and names of its modules with the values that they get there. Each stands in a process of its own with the same
rows, which lie in a file meanwhile; one after the other replays a search that it captured, the order changing from round to round, so that clocks and
temperature fall on all. Answers of all sides have to have the same bits. A ratio above 1 says that a side takes longer than the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import cupy as cp
import numpy as np

from benchmarks.certified_gpu import KINDS
from knnscope import environment

CALLS = 30
"""Replays of a turn; their median counts."""
QUERIES = 10_000
CHILD = """
import ast, hashlib, importlib, json, sys
import cupy as cp
import numpy as np
for setting in sys.argv[3:]:
    name, value = setting.split("=", 1)
    module, name = name.rsplit(".", 1)
    owner = importlib.import_module(module)
    getattr(owner, name)  # a name that is not there would change nothing
    setattr(owner, name, ast.literal_eval(value))
from knnscope.certified.index import ExactIndex
rows, every = cp.asarray(np.load(sys.argv[1])), cp.asarray(np.load(sys.argv[2]))
with cp.cuda.Stream(non_blocking=True) as stream:
    index, captured = ExactIndex(rows, device="cuda"), {}
    for asked in sys.stdin:
        batch, k, calls = json.loads(asked)
        if (batch, k) not in captured:
            queries = every[:batch]
            out = cp.empty((batch, k), dtype=cp.int64), cp.empty((batch, k))
            index.search(queries, k, out=out)
            stream.synchronize()
            stream.begin_capture()
            index.search(queries, k, out=out)
            graph = stream.end_capture()
            graph.launch(stream)
            stream.synchronize()
            bits = hashlib.sha256(b"".join(cp.asnumpy(one).tobytes() for one in out)).hexdigest()
            captured[batch, k] = graph, (queries, out), bits
        graph, _, bits = captured[batch, k]
        took = []
        for _ in range(calls):
            first, last = cp.cuda.Event(), cp.cuda.Event()
            first.record()
            graph.launch(stream)
            last.record()
            last.synchronize()
            took.append(cp.cuda.get_elapsed_time(first, last) * 1e3)
        print(json.dumps([sorted(took)[calls // 2], bits]), flush=True)
"""


class Side:
    """A checkout at work."""

    def __init__(self, text: str, files: list[Path]) -> None:
        folder, *settings = text.split(",")
        where = Path(folder).resolve()
        paths = [os.fspath(where), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(os.fspath, files), *settings],
            cwd=where,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, batch: int, k: int, calls: int = CALLS) -> tuple[float, str]:
        """Microseconds of a replay, and what its answer's bits are."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([batch, k, calls]) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise SystemExit(f"a side ended with {self._process.wait()}: what it says stands above")
        took, bits = json.loads(said)
        return float(took), str(bits)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measured(sides: list[Side], batch: int, k: int, rounds: int) -> dict[str, Any]:
    """One case."""
    bits = [side.ask(batch, k, 3)[1] for side in sides]
    took: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        for turn in range(len(sides)):
            which = (turn + number) % len(sides)
            took[which].append(sides[which].ask(batch, k)[0])
    ratios = [median(own / first for own, first in zip(one, took[0], strict=True)) for one in took]
    return {
        "queries": batch, "k": k, "us": [round(median(one), 1) for one in took], "ratios": [round(ratio, 4) for ratio in ratios],
        "same_bits": len(set(bits)) == 1,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="+")
    parser.add_argument("--rows", default="1000000")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("-k", default="10", help="one or several")
    parser.add_argument("--batches", default="1,1000,10000")
    parser.add_argument("--data", choices=tuple(KINDS), default="clustered")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines: list[dict[str, Any]] = []
    for count in map(int, args.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("rows.npy", "queries.npy")]
            for file, (many, seed) in zip(files, ((count, 3), (QUERIES, 4)), strict=True):
                np.save(file, cp.asnumpy(KINDS[args.data](many, args.dim, seed)))
            cp.get_default_memory_pool().free_all_blocks()
            sides = [Side(text, files) for text in args.sides]
            for k in map(int, args.k.split(",")):
                for batch in map(int, args.batches.split(",")):
                    lines.append({"rows": count, **measured(sides, batch, k, args.rounds)})
                    print(json.dumps(lines[-1]), flush=True)
            for side in sides:
                side.close()
    if args.out:
        name = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        facts = {"gpu": name, "commit": environment.commit(), "sides": args.sides, "data": args.data, "dim": args.dim}
        args.out.write_text(json.dumps({**facts, "lines": lines}, indent=1) + "\n")
    if not all(one["same_bits"] for one in lines):
        raise SystemExit("the sides do not answer alike")


if __name__ == "__main__":
    main()
