"""What an index costs: bytes a row, memory and rate of building from a memory map, and what starting takes.

    python -m benchmarks.certified_build [--rows 2000000] [--data isotropic] [--out benchmarks/results/certified-build.json]
    python -m benchmarks.certified_build --rows 75000 1000000 --data text --out benchmarks/results/certified-build-text.json

Isotropic rows have codes only; clustered text has a plane too, whose directions are found in the time told. Three processes each, the fastest is told.

Memory is anonymous (RssAnon, looked at every 2 ms): pages of the map belong to the system's cache. Starting: CPU time of a process that
imports knnscope; of one that builds and searches with nothing compiled yet (NUMBA_CACHE_DIR empty); of one after it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from knnscope import environment
from knnscope.datasets import registry

os.environ["KNNSCOPE_COMPILE"] = "wait"  # compiled code is measured, never what answers meanwhile

DIM = 384
START = """
import numpy as np, knnscope
rows = np.random.default_rng(0).standard_normal((1000, 32)).astype(np.float32)
assert knnscope.ExactIndex(rows).search(rows[:1], 3).ids[0, 0] == 0
"""


def anonymous() -> int:
    """Anonymous memory of this process, bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def building(path: str, threads: int, memory: str) -> dict[str, Any]:
    """Build once in this process."""
    import knnscope

    rows = np.load(path, mmap_mode="r")
    knnscope.ExactIndex(rows[:10_000], threads=threads)  # compiled code is loaded, threads have started
    before, most, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    index = knnscope.ExactIndex(rows, threads=threads, memory=memory)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done.set()
    watcher.join()
    return {
        "rows": len(rows),
        "threads": threads,
        "memory": memory,
        "levels": index.levels,
        "bytes_a_row": index.nbytes / len(rows),
        "index_mib": index.nbytes / 2**20,
        "peak_above_index_mib": (most[0] - before - index.nbytes) / 2**20,
        "gb_per_s": rows.nbytes / wall / 1e9,
        "gb_per_cpu_s": rows.nbytes / cpu / 1e9,
    }


def started(code: str, cache: str) -> tuple[float, float]:
    """Wall and CPU seconds of a process."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(time.perf_counter() - wall, 3), round(cpu, 3)


def write(path: str, data: str, count: int) -> None:
    """Rows as a file."""
    if data == "text":
        np.save(path, registry.load(f"synthetic:text,rows={count},queries=1")[0].documents.values)
        return
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, DIM))
    random = np.random.default_rng(0)
    for first in range(0, count, 50_000):
        rows[first : first + 50_000] = random.standard_normal((min(50_000, count - first), DIM), dtype=np.float32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--data", choices=("isotropic", "text"), default="isotropic")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/certified-build.json"))
    parser.add_argument("--build", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--memory", default="fast", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        print(json.dumps(building(args.build, args.threads, args.memory)))
        return
    found: dict[str, Any] = {"data": args.data, "dim": DIM, "builds": []}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows.npy"
        for count in args.rows:
            write(path, args.data, count)
            for threads, memory in ((1, "fast"), (2, "small"), (2, "fast")):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.certified_build",
                    "--build",
                    path,
                    "--threads",
                    str(threads),
                ]
                runs = [
                    json.loads(
                        subprocess.run(
                            [*command, "--memory", memory], check=True, capture_output=True, text=True
                        ).stdout
                    )
                    for _ in range(3)
                ]
                found["builds"].append(max(runs, key=lambda r: r["gb_per_s"]))
                print(found["builds"][-1])
        cache = f"{folder}/cache"
        found["import"] = sorted(started("import knnscope", cache) for _ in range(5))[2]
        found["first_search"] = started(START, cache)
        found["later_search"] = sorted(started(START, cache) for _ in range(5))[2]
    for name in ("import", "first_search", "later_search"):
        print(f"{name}: {found[name][0]} s, {found[name][1]} s of CPU time")
    args.out.write_text(json.dumps({**found, "environment": environment.collect()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
