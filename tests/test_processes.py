"""A child of ours ends when its parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knnscope import processes
from knnscope.ceilings import cache
from knnscope.datasets import probe
from tests.processes import LONG, gone, until

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
RECORDER = """
import runpy, signal, sys, types
class Recorder:
    def start(self):
        print("records", flush=True)
        while True: signal.pause()
sys.modules["cupti"] = types.ModuleType("cupti")
sys.modules["knnscope.profile.cupti"] = types.SimpleNamespace(Recorder=Recorder)
sys.argv = ["knnscope.profile", "target", "all", "program"]
runpy.run_module("knnscope.profile", run_name="__main__")
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, sys.argv[2]: str(os.getpid())})
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize(("code", "word"), [(CHILD, "measures"), (RECORDER, "records")])
def test_measuring_ends_with_the_command_that_asked_for_it(code: str, word: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, code, cache.PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == f"{word}\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + LONG
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.01)
    over = gone(child)
    if not over:
        os.kill(child, signal.SIGKILL)
    parent.stdout.close()
    assert over


def test_the_child_is_told_whom_to_end_with(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def run(*_: object, env: dict[str, str], **__: object) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess([], 1, "", "no")

    monkeypatch.setattr(cache.subprocess, "run", run)
    with pytest.raises(cache.KnnscopeError):
        cache._measure("cpu", 1)
    assert seen[cache.PARENT] == str(os.getpid())


def test_a_look_into_a_damaged_file_ends_with_the_command_that_takes_it(
    tmp_path: Path, child_environment: dict[str, str], popen: Callable[..., Any]
) -> None:
    """libhdf5 loops on some, for all of the seconds that it is given; here a stand-in for h5py does."""
    note = tmp_path / "number"
    (tmp_path / "x.h5").touch()
    (tmp_path / "h5py.py").write_text(
        f"import os, signal\ndef File(path):\n    if path.name != 'x.h5': raise OSError\n"
        f"    open({str(note)!r}, 'w').write(f'{{os.getppid()}} {{os.getpid()}} ')\n    while True: signal.pause()\n"
    )
    code = (
        "import pathlib; from knnscope.datasets import probe; probe.SECONDS = 600\n"
        f"probe.look('hdf5_file:touch', pathlib.Path({str(tmp_path / 'x.h5')!r}), 'HDF5')"
    )
    path = os.pathsep.join([str(tmp_path), child_environment["PYTHONPATH"]])
    parent = popen([sys.executable, "-c", code], env={**child_environment, "PYTHONPATH": path})
    until(lambda: note.exists() and note.read_text().endswith(" "), "the look")
    children = [int(word) for word in note.read_text().split()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        until(lambda: all(map(gone, children)), "the end of the process that looks, and of the look")
    finally:
        for child in children:
            if not gone(child):
                os.kill(child, signal.SIGKILL)


def test_a_look_into_a_file_takes_no_library_from_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("open('taken', 'w')")
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    monkeypatch.chdir(tmp_path)
    probe.look("hdf5_file:touch", Path("x.h5"), "HDF5")
    assert not (tmp_path / "taken").exists()


def test_who_was_to_be_ended_with_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own children would find a parent that is not theirs, and end."""
    monkeypatch.setattr(processes, "end_with", lambda number: None)
    monkeypatch.setenv(processes.PARENT, "7")
    processes.end_with_parent()
    assert processes.PARENT not in os.environ
