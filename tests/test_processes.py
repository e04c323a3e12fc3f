"""A child of ours ends when its parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from knnscope.ceilings import cache
from tests.processes import LONG

CHILD = """
import runpy, signal, sys
from knnscope.ceilings import cpu
def forever(threads):
    print("measures", flush=True)
    while True: signal.pause()
cpu.measure = forever
sys.argv = ["knnscope.ceilings", "cpu", "1"]
runpy.run_module("knnscope.ceilings", run_name="__main__")
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, sys.argv[2]: str(os.getpid())})
print(child.pid, flush=True)
child.wait()
"""


def gone(number: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_measuring_ends_with_the_command_that_asked_for_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, cache.PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "measures\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + LONG
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.01)
    ended = gone(child)
    if not ended:
        os.kill(child, signal.SIGKILL)
    parent.stdout.close()
    assert ended


def test_the_child_is_told_whom_to_end_with(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def run(*_: object, env: dict[str, str], **__: object) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess([], 1, "", "no")

    monkeypatch.setattr(cache.subprocess, "run", run)
    with pytest.raises(cache.KnnscopeError):
        cache._measure("cpu", 1)
    assert seen[cache.PARENT] == str(os.getpid())
