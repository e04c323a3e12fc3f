"""The first answer of a process where nothing is compiled: seconds after the imports, by NumPy, and until compiled code answers.

    python -m benchmarks.certified_first [--rows 75000] [--out benchmarks/results/certified-first.json]

Each of five processes has an empty folder for compiled code; the last one searches on, every 20 ms, until compiled code answers.
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

from knnscope import environment

DIM, TIMES = 384, 5
FIRST = f"""
import json, sys, time
import numpy as np, knnscope
rows = np.random.default_rng(0).standard_normal((int(sys.argv[1]), {DIM}), dtype=np.float32)
from knnscope import ExactIndex
told = {{}}
began, cpu = time.perf_counter(), time.process_time()
index = ExactIndex(rows)
told["built_s"] = time.perf_counter() - began
found = index.search(rows[:1], 10)
told["first_s"], told["first_cpu_s"] = time.perf_counter() - began, time.process_time() - cpu
told["path"], longest = found.certificate.path, 0.0
while "on" in sys.argv and found.certificate.path == ("plain",):
    time.sleep(0.02)
    asked = time.perf_counter()
    again = index.search(rows[:1], 10)
    longest = max(longest, time.perf_counter() - asked)
    assert (again.ids == found.ids).all() and (again.distances == found.distances).all()
    found = again
if "on" in sys.argv:
    told["compiled_after_s"], told["longest_search_s"] = time.perf_counter() - began, longest
print(json.dumps(told))
"""


def first(rows: int, *how: str) -> dict[str, Any]:
    """A process that has nothing compiled."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", FIRST, str(rows), *how],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": folder, "KNNSCOPE_COMPILE": "beside"},
        )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["path"] == ["plain"]
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-first.json"))
    args = parser.parse_args()
    runs = [first(args.rows) for _ in range(TIMES)]
    found = {name: round(median(run[name] for run in runs), 4) for name in ("built_s", "first_s", "first_cpu_s")}
    last = first(args.rows, "on")
    found |= {name: round(last[name], 3) for name in ("compiled_after_s", "longest_search_s")}
    print(found)
    args.out.write_text(
        json.dumps({"rows": args.rows, "dim": DIM, **found, "environment": environment.collect()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
