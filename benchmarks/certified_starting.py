"""What starting certified search takes: CPU time to compile a kind of rows, and resident memory of a process that finds all compiled.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.certified_starting [--rows 75000] [--out benchmarks/results/certified-starting.json]

Memory is RSS in MiB, part after part, without the rows' own bytes. The same of Faiss's IndexFlatL2 stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from knnscope import environment

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

DIM = 384
STEPS = """
import json, sys
told = {}
def tell(name, less=0):
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    told[name] = round(kib / 1024 - less / 2**20, 1)
tell("python")
import numpy as np
tell("numpy")
if "faiss" in sys.argv:
    import faiss
    tell("imports")
else:
    from knnscope import ExactIndex
    tell("imports")
rows = np.random.default_rng(0).standard_normal((int(sys.argv[1]), 384), dtype=np.float32)
tell("rows", rows.nbytes)
if "faiss" in sys.argv:
    index = faiss.IndexFlatL2(384)
    index.add(rows)
    kept = rows.nbytes  # a copy of its own
    del rows
    rows = np.ones((1, 384), dtype=np.float32)
else:
    index, kept = ExactIndex(rows, threads=1), rows.nbytes
tell("index", kept)
index.search(rows[:1], 10)
tell("search", kept)
print(json.dumps(told))
"""


def ran(*command: str, cache: str) -> tuple[str, float]:
    """What a process says, and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *command],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-starting.json"))
    args = parser.parse_args()
    found: dict[str, Any] = {"rows": args.rows, "dim": DIM}
    with tempfile.TemporaryDirectory() as folder:
        warm = "from knnscope.certified import warm\nfor _ in warm.steps(warm.usual()): pass"
        found["compile_cpu_s"] = ran("-c", warm, cache=folder)[1]
        found["compiled_mib"] = round(sum(file.stat().st_size for file in Path(folder).rglob("*.code")) / 2**20, 2)
        for rows in (1000, args.rows):
            found[f"rss_mib_{rows}"] = json.loads(ran("-c", STEPS, str(rows), cache=folder)[0])
            found[f"rss_mib_{rows}_faiss"] = json.loads(ran("-c", STEPS, str(rows), "faiss", cache=folder)[0])
    print(json.dumps(found, indent=1))
    args.out.write_text(json.dumps({**found, "environment": environment.collect()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
