"""What saving and loading an index cost, against a plain copy of the same bytes; and one change that is on disk when its call returns.

    python -m benchmarks.saved_index [--rows 1000000] [--dim 384] [--times 3] [--folder DIR] [--out benchmarks/results/saved-index.json]

Save and copy take turns, and both sync what they wrote; so do loading with all checksums and reading the same bytes. Files are in the page cache when they
are read. The folder has to be on the disk that is meant, and have room for the index twice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ["KNNSCOPE_COMPILE"] = "wait"

import numpy as np

from knnscope import ExactIndex, environment

PIECE = 1 << 24


def copy(folder: Path, to: Path) -> None:
    """The files of a folder, synced, as ``cp`` does and ``sync`` after it."""
    to.mkdir()
    for path in folder.iterdir():
        with path.open("rb") as source, (to / path.name).open("wb") as sink:
            shutil.copyfileobj(source, sink, PIECE)
            sink.flush()
            os.fsync(sink.fileno())


def read(folder: Path) -> None:
    """All bytes of a folder, into memory that is there already."""
    room = bytearray(PIECE)
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(room):
                pass


def timed(work: Any, *given: Any) -> tuple[float, float]:
    """Seconds, and CPU seconds of all threads."""
    began, cpu = time.perf_counter(), time.process_time()
    work(*given)
    return time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    rows = random.standard_normal((args.rows, args.dim), dtype=np.float32)
    rows *= np.linspace(2, 0.2, args.dim, dtype=np.float32)
    index = ExactIndex(rows)
    queries = rows[:20] + np.float32(0.01)
    expected = index.search(queries, 10)
    seconds: dict[str, list[tuple[float, float]]] = {}

    def measure(name: str, work: Any, *given: Any) -> None:
        seconds.setdefault(name, []).append(timed(work, *given))

    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        for number in range(args.times):
            folder, other = Path(scratch, f"index-{number}"), Path(scratch, f"copy-{number}")
            measure("save", index.save, folder)
            measure("copy", copy, folder, other)
            shutil.rmtree(other)
            measure("open", ExactIndex.load, folder)
            loaded = ExactIndex.load(folder)
            measure("first_search", loaded.search, queries[:1], 10)
            found = loaded.search(queries, 10)
            assert (found.ids == expected.ids).all()
            assert (found.distances == expected.distances).all()
            measure("open_verified", partial(ExactIndex.load, verify=True), folder)
            measure("read", read, folder)
            size = sum(path.stat().st_size for path in folder.iterdir())
            with ExactIndex.load(folder, writable=True) as writer:
                measure("add_1_synced", lambda one: [one.add(queries[:1]) for _ in range(20)], writer)
                measure("add_10000_synced", writer.add, rows[:10_000] + np.float32(0.5))
            measure("open_after_adding", ExactIndex.load, folder)
            shutil.rmtree(folder)
    middle = {name: [round(median(part), 5) for part in zip(*taken, strict=True)] for name, taken in seconds.items()}
    middle["add_1_synced"] = [round(part / 20, 6) for part in middle["add_1_synced"]]
    result = {
        "environment": environment.collect(),
        "rows": args.rows,
        "dim": args.dim,
        "times": args.times,
        "levels": index.levels,
        "bytes": size,
        "seconds_and_cpu_seconds": middle,
        "save_bytes_per_second": round(size / middle["save"][0]),
        "copy_bytes_per_second": round(size / middle["copy"][0]),
        "save_over_copy": round(median(s[0] / c[0] for s, c in zip(seconds["save"], seconds["copy"], strict=True)), 3),
        "verified_over_read": round(
            median(s[0] / c[0] for s, c in zip(seconds["open_verified"], seconds["read"], strict=True)), 3
        ),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
