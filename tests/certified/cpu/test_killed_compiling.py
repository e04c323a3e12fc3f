"""kill -9 while a search compiles: what is kept is whole, and the next process searches right.

A round takes functions at random from a full folder, kills one process after another that compiles them, at a random moment of each
step, and lets another process search:

    KNNSCOPE_KILLS=200 ./dev test tests/certified/cpu/test_killed_compiling.py -s
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cpu import code_cache
from knnscope.search import definition

KILLS = int(os.environ.get("KNNSCOPE_KILLS", "4"))
LONG = 300
"""Seconds that only a hang takes."""
ROWS = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
SEARCH = """
import os, sys, time
def tell(event, found):
    if event in ("open", "os.rename") and str(found[0]).endswith((".code", ".part")):
        os.write(1, f"{event} {found[0]}\\n".encode())
        if event == "os.rename" and "stop" in sys.argv:
            time.sleep(300)  # no SIGSTOP: it may reach this thread after the rename
sys.addaudithook(tell)
os.write(1, b"begin\\n")
import json
import numpy as np, knnscope
rows = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
found = knnscope.ExactIndex(rows, device="cpu:portable").search(rows[:2], 3, threads=1)
print("found", json.dumps([found.ids.tolist(), found.distances.tolist()]), flush=True)
"""
MOMENTS = {
    "import": 0.3,
    "compile": 1.0,
    "write": 0.001,
    "rename": 0.0,
}
"""Seconds within which to kill, after the process has begun, found a function missing, or is to open its file; before it renames that,
it waits to be killed."""
LOADED = ("write", "scan_portable", "_quantise")
"""What a search reads from the folder, beside ``finish``, which takes long. With
few kills the first alone is tried, which is compiled soonest."""
KEPT = os.environ["NUMBA_CACHE_DIR"]
"""Of all tests; this one has a folder of its own."""


@dataclass
class Told:
    """What a process says of its files, and its answer."""

    opened: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    answer: Any = None

    def hear(self, line: str) -> None:
        what, _, rest = line.rstrip("\n").partition(" ")
        if what == "found":
            self.answer = json.loads(rest)
        elif what in ("open", "os.rename"):
            (self.opened if what == "open" else self.renamed).append(rest)


@pytest.fixture
def start(child_environment: dict[str, str]) -> Iterator[Any]:
    """A process that searches with the code of a folder."""
    started: list[subprocess.Popen[str]] = []

    def begin(cache: Path | str, *how: str) -> subprocess.Popen[str]:
        environment = {**child_environment, "NUMBA_CACHE_DIR": os.fspath(cache)}
        started.append(
            subprocess.Popen([sys.executable, "-c", SEARCH, *how], env=environment, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def to_the_end(process: subprocess.Popen[str]) -> Told:
    """Of a process that nothing disturbs."""
    out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0
    told = Told()
    for line in out.splitlines():
        told.hear(line)
    return told


def seeded(start: Any, folder: Path, tops: set[str]) -> list[str]:
    """Fill the folder with what all tests have compiled; the names of these functions and of their parts."""
    folder.mkdir(mode=0o700, parents=True)
    used = [name for name in to_the_end(start(KEPT)).opened if name.endswith(".code")]
    refill(folder, os.listdir(Path(KEPT, folder.name)))
    for name in used:
        if top(name) in tops:
            (folder / name).unlink()
    return sorted({name for name in to_the_end(start(folder.parent)).opened if name.endswith(".code")})


def top(name: str) -> str:
    """The function in a file's name."""
    return name.rpartition("-")[0]


def refill(folder: Path, names: list[str]) -> None:
    """Put these files back."""
    for name in names:
        shutil.copy(Path(KEPT, folder.name, name), folder)


def kill(process: subprocess.Popen[str], moment: str, missing: set[str], picks: random.Random) -> bool:
    """SIGKILL at this moment; whether it was still at work."""
    nth = picks.choice((0, 0, 1)) if moment in ("compile", "write") else 0
    assert process.stdout is not None
    for line in process.stdout:
        what, _, name = line.strip().partition(" ")
        comes = {
            "import": what == "begin",
            "compile": what == "open" and name in missing,
            "write": what == "open" and name.endswith(code_cache.PART),
            "rename": what == "os.rename",
        }[moment]
        nth -= comes
        if nth < 0:
            break
    time.sleep(picks.choice((0, picks.uniform(0, MOMENTS[moment]))))
    process.kill()
    process.communicate()
    return process.returncode < 0


def test_processes_that_are_killed_while_they_compile_harm_no_other(start: Any, folder: Path) -> None:
    picks = random.Random(KILLS)
    tops = LOADED if len(MOMENTS) < KILLS else LOADED[:1]
    names = seeded(start, folder, set(tops))
    expected = definition.search(ROWS, ROWS[:2], 3, "l2")
    seen: Counter[str] = Counter()
    for number in range(KILLS // len(MOMENTS)):
        missing = {name for name in names if top(name) == tops[number % len(tops)]}
        parts: set[str] = set()
        for moment in picks.sample(list(MOMENTS), len(MOMENTS)):
            for name in missing & set(os.listdir(folder)):
                (folder / name).unlink()
            process = start(folder.parent, *(["stop"] if moment == "rename" else []))
            seen[f"killed for {moment}"] += kill(process, moment, missing, picks)
            left = set(os.listdir(folder))
            new = {name for name in left if name.endswith(code_cache.PART)} - parts
            seen["left a part"] += bool(new)
            parts |= new
            for name in left - parts:
                assert code_cache.read(name) is not None, f"{name} is damaged"
        seen["functions that outlived their compiler"] += len(missing & left)
        told = to_the_end(start(folder.parent))
        assert told.answer == [expected.ids.tolist(), expected.distances.tolist()]
        assert not parts & set(told.opened), "what was left half is used"
        assert len(told.renamed) == len(missing & set(told.opened) - left), "it compiles what is missing, no more"
        for name in parts:
            (folder / name).unlink()
        refill(folder, names)
    print(f"\n{KILLS} kills: {dict(seen)}")
    assert seen["killed for rename"] == KILLS // len(MOMENTS) <= seen["left a part"]
