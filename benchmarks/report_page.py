"""How much CPU time and how large a file a report is: 200 rows of a real GPU run beside one trace of 54 MB, and every committed run.

    python -m benchmarks.report_page

Each report is a process of its own, as a user starts it, with what it loads; the first has nothing in the cache. The trace is synthetic, in the
schema of a real export (benchmarks/big_trace.py). Other work takes caches and half of a core, so the load is told.
Results go to benchmarks/results/report-page.json.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import big_trace
from knnscope import environment
from knnscope.store import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RESULT = RESULTS / "report-page.json"
RUN = RESULTS / "compare-gpu-75000"
ROWS, ITERATIONS = 200, 84_000
CPU_SECONDS, BYTES = 8.0, 3_000_000


def measure(folder: Path, page: Path, home: Path) -> dict[str, Any]:
    """CPU time of all threads of one report, and its size."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "knnscope", "report", str(folder), "-o", str(page)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "KNNSCOPE_HOME": str(home)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = page.stat().st_size
    return {"cpu_s": round(spent, 2), "bytes": size, "met": spent < CPU_SECONDS and size < BYTES}


def main() -> None:
    """Measure and write."""
    found: dict[str, Any] = {}
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as scratch:
        home, page, big = (Path(scratch) / name for name in ("home", "page.html", "big"))
        big.mkdir()
        shutil.copy(RUN / "environment.json", big)
        rows = (RUN / "results.jsonl").read_text("utf-8").splitlines(keepends=True)[:ROWS]
        (big / "results.jsonl").write_text("".join(rows), "utf-8")
        big_trace.write(big / "loop.sqlite", ITERATIONS)
        trace = (big / "loop.sqlite").stat().st_size
        for name in ("first", "again"):
            found[f"{ROWS} rows and a trace of {trace:,} bytes, {name}"] = measure(big, page, home)
        for path in sorted(RESULTS.glob("*/results.jsonl")):
            found[path.parent.name] = measure(path.parent, page, home)
    load.append(os.getloadavg()[0])
    write_json(
        RESULT,
        {
            "environment": environment.collect(()),
            "load": load,
            "target": {"cpu_s": CPU_SECONDS, "bytes": BYTES},
            "reports": found,
        },
    )
    print(f"load average {load[0]:.1f} before, {load[1]:.1f} after")
    for name, one in found.items():
        print(f"{name}: {one['cpu_s']} s of CPU time, {one['bytes']:,} bytes")


if __name__ == "__main__":
    main()
