"""What the package compiles: by two processes at once, in a thread of its own, and across a fork."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import knnscope
from knnscope.certified.cpu import code_cache, threads
from knnscope.certified.cpu import jit as module
from knnscope.errors import KnnscopeError

LONG = 120
"""Seconds that only a hang takes."""
SEARCH = """
import numpy as np, knnscope
rows = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
found = knnscope.ExactIndex(rows, device="cpu:portable").search(rows[:2], 3, threads=1)
assert found.ids[:, 0].tolist() == [0, 1], found
from knnscope.certified.cpu.scan import SCANS
print(knnscope.__file__, SCANS["portable"].from_disk)
"""
ONE = """
import knnscope
from knnscope.certified.cpu.values import half_of
assert half_of(0x3C00) == 1.0
print(knnscope.__file__, half_of.from_disk)
"""
"""A function that is compiled in a moment."""
KEPT = os.environ["NUMBA_CACHE_DIR"]
"""Of all tests."""


def test_two_processes_compile_at_once_and_a_third_finds_it(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """A copy of the package with what all tests have compiled, without the scan."""
    site, cache = tmp_path / "site", tmp_path / "cache/knnscope/compiled"
    shutil.copytree(Path(knnscope.__file__).parent, site / "knnscope", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {k: v for k, v in child_environment.items() if k not in ("NUMBA_CACHE_DIR", "KNNSCOPE_HOME")}
    environment |= {"PYTHONPATH": os.fspath(site), "XDG_CACHE_HOME": os.fspath(tmp_path / "cache")}

    def start(code: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment | more,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(process: subprocess.Popen[str]) -> list[str]:
        out, err = process.communicate(timeout=5 * LONG)
        assert process.returncode == 0, err
        path, hits = out.split()
        assert Path(path).is_relative_to(site)
        return [hits]

    said(start(SEARCH, NUMBA_CACHE_DIR=KEPT))
    folder = code_cache.path().name
    shutil.copytree(Path(KEPT, folder), cache / folder, ignore=shutil.ignore_patterns("scan_*"))
    cache.parent.chmod(0o700)
    before = set(os.listdir(cache / folder))
    assert [said(process) for process in [start(SEARCH), start(SEARCH)]]
    assert said(start(SEARCH)) == ["1"], "the third compiles no scan"
    assert said(start(ONE)) == ["0"]
    new = {name.rpartition("-")[0] for name in set(os.listdir(cache / folder)) - before}
    assert new == {"scan_portable", "half_of"}
    assert not list(site.rglob("*.nb?")), "nothing is written beside the package"
    with (site / "knnscope/certified/bound.py").open("a") as file:
        file.write("# another bound\n")
    assert said(start(ONE)) == ["0"], "code may hold a function of another file: compiled anew when that changes"
    assert len(os.listdir(cache)) == 2


class AlarmError(Exception):
    """What the handler of a signal raises."""


class Compiler:
    """Stands for LLVM: it takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go, self.where = threading.Event(), threading.Event(), list[str]()
        self.ended = 0

    def __call__(self, *args: Any) -> Any:
        self.where.append(threading.current_thread().name)
        self.begun.set()
        assert self.go.wait(LONG)
        self.ended += 1
        return args


def test_what_the_main_thread_needs_is_compiled_in_another_and_goes_on_after_an_exception() -> None:
    compiler = Compiler()
    compile_for = module._undisturbed(compiler)

    def strike(*_: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGUSR1, strike)
    try:
        killer = threading.Thread(
            target=lambda: (
                compiler.begun.wait(LONG),
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1),
            )
        )
        killer.start()
        with pytest.raises(AlarmError):
            compile_for(1)
        killer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert compiler.ended == 0
    compiler.go.set()
    assert compile_for(2) == (2,), "the next one waits until the first has ended"
    assert compiler.ended == 2
    assert threading.main_thread().name not in compiler.where


def test_an_error_of_the_compiler_is_the_callers() -> None:
    def fails() -> None:
        raise TypeError("no such type")

    with pytest.raises(TypeError, match="no such type"):
        module._undisturbed(fails)()


def test_without_another_thread_it_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    compiler = Compiler()
    compiler.go.set()
    monkeypatch.setattr(threads._thread, "start_new_thread", no_more)
    assert module._undisturbed(compiler)(3) == (3,)
    assert compiler.where == [threading.main_thread().name]


def in_fork(work: Callable[[], int]) -> int:
    """The exit code of a forked process that does this."""
    if (child := os.fork()) == 0:
        signal.alarm(LONG)
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_waits_until_the_compiler_is_at_rest() -> None:
    compiler = Compiler()
    compile_for = module._undisturbed(compiler)
    thread = threading.Thread(target=compile_for, args=(1,))
    thread.start()
    assert compiler.begun.wait(LONG)
    threading.Timer(0.1, compiler.go.set).start()
    assert in_fork(lambda: 7 if compiler.ended == 1 and compile_for(2) == (2,) else 1) == 7
    thread.join()
    assert compile_for(3) == (3,)


@pytest.mark.parametrize("asks", ["dispatch.instructions()", "code_cache.told_by_llvm()"])
def test_a_fork_waits_until_the_compiler_is_imported(asks: str, tmp_path: Path) -> None:
    """A child in which another thread imports it waits for that thread, which it has not, for ever."""
    code = f"""
import os, signal, sys, threading, time
from knnscope.certified.cpu import code_cache, dispatch
begun = threading.Event()
class Slow:
    def find_spec(self, name, *_):
        if name.endswith("compiler.machine"):
            begun.set()
            time.sleep(0.5)
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: {asks})
thread.start()
assert begun.wait({LONG})
if (child := os.fork()) == 0:
    signal.alarm(10)
    {asks}
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=LONG, check=False).returncode == 7


@pytest.mark.parametrize(
    "asks", ["nearest(Request(rows[:200], 3, none))", "within(RadiusRequest(rows[:1], rows[0, :1], none, 9, 9))"]
)
def test_a_fork_waits_while_numpy_multiplies(asks: str) -> None:
    """A child in which BLAS was at work in another thread hangs at its own first product."""
    code = f"""
import os, signal, sys, threading
import numpy as np
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.scanner import RadiusRequest, Request
rows = np.random.default_rng(0).standard_normal((20000, 64))
none = np.empty((0, len(rows)), bool)
plain, over = Plain(rows, np.empty(0, np.int64), "l2"), []
def work():
    while not over:
        plain.{asks}
thread = threading.Thread(target=work)
thread.start()
ended = []
for _ in range(8):
    if (child := os.fork()) == 0:
        signal.alarm(20)
        plain.{asks}
        os._exit(7)
    ended.append(child)
ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ended]
over.append(True)
thread.join()
sys.exit(7 if set(ended) == {{7}} else 1)
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=LONG, check=False).returncode == 7


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_that_could_not_wait_says_so_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORK_WAITS", 0.01)
    compiler = Compiler()
    compile_for = module._undisturbed(compiler)
    thread = threading.Thread(target=compile_for, args=(1,))
    thread.start()
    assert compiler.begun.wait(LONG)

    def child() -> int:
        try:
            compile_for(2)
        except KnnscopeError as error:
            return 7 if "forked while another thread compiled" in str(error) else 2
        return 3

    assert in_fork(child) == 7
    compiler.go.set()
    thread.join()
    assert compile_for(3) == (3,), "the parent is as good as before"


def test_a_process_that_is_stopped_while_it_compiles_ends() -> None:
    """Ctrl-C in the first search: what is being compiled ends first, then the process does, by the exception alone."""
    code = (
        "import signal, threading, time, os\n"
        "from knnscope.certified.cpu import jit\n"
        "def compiler():\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(0.3); print('rests', flush=True)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "jit._undisturbed(compiler)()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "rests\n")
    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
