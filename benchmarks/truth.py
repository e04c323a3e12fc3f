"""What ground truth costs beside the search that it is made of, and whether it survives kill -9.

    python -m benchmarks.truth [--rows 1000000] [--queries 10000] [-k 100] [--rounds 2] [--memory MIB] [--out benchmarks/results/truth.json]

Clustered text x 384 in a file. By turns, each in a process of its own: `ExactIndex(rows).wait().search(queries, k)` on the mapped file and nothing
else, and `knnscope truth`, which also sums the files, keeps what is finished, and writes ids, distances and certificate. Wall and CPU seconds and the peak
of the memory are the processes' own; the first round's search reads the file from the disk. Then `truth` of the first rows, killed five times at moments
drawn over its time, against the same undisturbed: the same bytes. Files lie in a temporary folder and go again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DIM = 384
KILLED_ROWS, KILLED_QUERIES, KILLS = 200_000, 1_500, 5
SEARCH = """
import json, sys, time
import numpy as np
from knnscope.certified.index import ExactIndex
rows, queries = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])
at = time.perf_counter()
index = ExactIndex(rows).wait()
built = time.perf_counter() - at
at = time.perf_counter()
found = index.search(queries, int(sys.argv[3]))
searched = time.perf_counter() - at
np.save(sys.argv[4], found.ids)
print(json.dumps([built, searched]))
"""
ENVIRONMENT = {**os.environ, "KNNSCOPE_COMPILE": "wait"}


def timed(command: list[str], folder: Path) -> tuple[dict[str, float], str]:
    """Run a command: seconds on the clock and of the processors, the peak of its memory; and what it printed."""
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command}: exit code {child.returncode}")
    seconds = {
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": used.ru_maxrss >> 10,
    }
    return seconds, out


def truth(out: str, k: int, memory: int | None, rows: str = "rows.npy", queries: str = "queries.npy") -> list[str]:
    """The command."""
    limit = ["--memory", str(memory)] if memory else []
    return [sys.executable, "-m", "knnscope", "truth", rows, "--queries", queries, "-k", str(k), "-o", out, *limit]


def written(work: Path) -> dict[str, int]:
    """Finished parts, and when each was written last."""
    return {path.name: path.stat().st_mtime_ns for path in work.glob("queries-*.npz")}


def killed(folder: Path, k: int) -> dict[str, Any]:
    """The bytes of ground truth that was killed five times, against those of undisturbed one."""
    rows, queries = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rows", "queries"))
    np.save(folder / "some.npy", rows[:KILLED_ROWS])
    np.save(folder / "asked.npy", queries[:KILLED_QUERIES])
    limit = 100  # MiB: several blocks
    whole, _ = timed(truth("whole.bin", k, limit, "some.npy", "asked.npy"), folder)
    chance, kills, work = random.Random(0), list[dict[str, Any]](), folder / "killed.bin.work"
    for _ in range(KILLS):
        began, known = time.perf_counter(), written(work)
        child = subprocess.Popen(
            truth("killed.bin", k, limit, "some.npy", "asked.npy"),
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
        )
        while written(work) == known:  # it goes on where it was, and is killed within the part that follows
            if child.poll() is not None:
                raise SystemExit("it ended before it was killed")
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.03) * whole["wall_s"])
        if child.poll() is not None:
            raise SystemExit("it ended before it was killed")
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills.append({"after_s": round(time.perf_counter() - began, 2), "parts": len(written(work))})
    last, _ = timed(truth("killed.bin", k, limit, "some.npy", "asked.npy"), folder)
    same = (folder / "killed.bin").read_bytes() == (folder / "whole.bin").read_bytes()
    return {
        "rows": len(rows[:KILLED_ROWS]),
        "queries": len(queries[:KILLED_QUERIES]),
        "memory_mib": limit,
        "undisturbed": whole,
        "kills": kills,
        "last": last,
        "same_bytes": same,
    }


def compared(folder: Path, number: int, k: int, memory: int | None) -> dict[str, Any]:
    """One round: the search alone and the whole command, in turn."""
    one: dict[str, Any] = {}
    for what in ("search", "truth") if number % 2 == 0 else ("truth", "search"):
        if what == "search":
            command = [sys.executable, "-c", SEARCH, "rows.npy", "queries.npy", str(k), "ids.npy"]
            one[what], out = timed(command, folder)
            one[what]["build_s"], one[what]["search_s"] = (round(s, 2) for s in json.loads(out))
        else:
            one[what], _ = timed(truth(f"gt-{number}.npy", k, memory), folder)
        print(what, one[what], flush=True)
    one["same_ids"] = bool(np.array_equal(np.load(folder / "ids.npy"), np.load(folder / f"gt-{number}.npy")))
    one["cpu_ratio"] = round(one["truth"]["cpu_s"] / one["search"]["cpu_s"], 3)
    one["wall_ratio"] = round(one["truth"]["wall_s"] / one["search"]["wall_s"], 3)
    print(one["cpu_ratio"], one["wall_ratio"], one["same_ids"], flush=True)
    return one


def main() -> None:
    """Measure, print, and write after each step: what a former call measured at the same size stays beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2, help="0: only the kills")
    parser.add_argument("--no-kills", action="store_true")
    parser.add_argument("--memory", type=int)
    parser.add_argument("--out", default="benchmarks/results/truth.json")
    args = parser.parse_args()
    from knnscope import environment
    from knnscope.datasets import registry

    shape = {"rows": args.rows, "dim": DIM, "queries": args.queries, "k": args.k, "memory_mib": args.memory}
    path = Path(args.out)
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if {name: found.get(name) for name in shape} != shape:
        found = {**shape, "rounds": []}
    found["environment"] = environment.collect()

    def keep() -> None:
        path.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, queries = (args.rows, args.queries) if args.rounds else (KILLED_ROWS, KILLED_QUERIES)
        data, _ = registry.load(f"synthetic:text,rows={rows},dim={DIM},queries={queries}")
        np.save(folder / "rows.npy", data.documents.values)
        np.save(folder / "queries.npy", data.queries.values)
        del data
        for number in range(len(found["rounds"]), len(found["rounds"]) + args.rounds):
            load = os.getloadavg()[0]
            found["rounds"].append({"load": load, **compared(folder, number, args.k, args.memory)})
            keep()
        if not args.no_kills:
            found["killed"] = killed(folder, args.k)
            print(json.dumps(found["killed"], indent=1))
            keep()


if __name__ == "__main__":
    main()
