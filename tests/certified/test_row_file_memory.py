"""A file of rows is read with little memory beside what is kept: measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BUILD = """
import json, sys
from knnscope.certified.index import ExactIndex
import numpy as np

def now(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

path, memory = sys.argv[1:]
small = path.replace("rows", "few")
ExactIndex.build(small, threads=2, memory=memory).search(np.ones((3, 96)), 3)  # compiled code is loaded
open("/proc/self/clear_refs", "w").write("5")  # the peak from now on
before = now("VmRSS")
index = ExactIndex.build(path, threads=2, memory=memory)
built = now("VmHWM") - before
found = index.search(np.load(small, mmap_mode="r")[:4], 10)
print(json.dumps([built, now("VmHWM") - before, index.nbytes, found.ids[:, 0].tolist()]))
"""
ROWS = 800_000
"""307 MB."""


@pytest.mark.parametrize("memory", ["fast", pytest.param("small", marks=pytest.mark.slow)])
def test_building_and_searching_take_little_more_than_what_is_kept(tmp_path: Path, memory: str) -> None:
    random, fall = np.random.default_rng(0), (np.arange(1, 97) ** -0.8).astype(np.float32)
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (ROWS, 96))
    for first in range(0, ROWS, 50_000):
        rows[first : first + 50_000] = random.standard_normal((50_000, 96), dtype=np.float32) * fall
    rows.flush()
    np.save(tmp_path / "few.npy", rows[-9000:])
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path / "rows.npy"), memory],
        check=True, capture_output=True, text=True, env={**os.environ, "KNNSCOPE_COMPILE": "wait"},
    )  # fmt: skip
    built, searched, kept, found = json.loads(done.stdout)
    assert found == [ROWS - 9000 + i for i in range(4)]
    assert kept > ROWS * (20 if memory == "small" else 96)
    assert built < kept + (150 << 20)
    assert searched < kept + (200 << 20)
