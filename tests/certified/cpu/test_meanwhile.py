"""Who has nothing compiled yet is answered by NumPy at once, and by compiled code when another process has made it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import processes
from knnscope.certified import warm
from knnscope.certified.cpu import ending, meanwhile
from knnscope.certified.cpu.kind import Kind, example, kind_of
from knnscope.certified.engine import CertifiedEngine
from knnscope.certified.index import ExactIndex
from knnscope.certified.rows import as_rows
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.processes import LONG, gone, offspring, until

KEPT = os.environ["NUMBA_CACHE_DIR"]
"""Of all tests."""
ROWS = np.random.default_rng(0).standard_normal((900, 20)).astype(np.float32)
SEARCH = """
import json, sys, time
import numpy as np, knnscope
from knnscope.certified.cpu import ending, meanwhile
if "beside" in sys.argv:
    meanwhile.AT_ONCE = 0
rows = np.random.default_rng(0).standard_normal((900, 20)).astype(np.float32)
index = knnscope.ExactIndex(rows, threads=2, device="cpu:portable")
def search():
    found = index.search(rows[:3], 4)
    print(json.dumps([list(found.certificate.path), found.ids.tolist(), found.distances.tolist()]), flush=True)
    return found.certificate.path
end = time.monotonic() + 600
while search() == ("plain",) and "once" not in sys.argv:
    assert time.monotonic() < end
    time.sleep(0.1)  # the compiler has the core meanwhile
while "stay" in sys.argv:
    time.sleep(0.1)  # in turns: a signal between Python's last look and a long sleep is noticed after it
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(popen: Callable[..., Any], folder: Path, child_environment: dict[str, str]) -> Start:
    """A process that searches, with a folder of its own for compiled code."""
    environment = {**child_environment, "NUMBA_CACHE_DIR": os.fspath(folder.parent), meanwhile.HOW: "beside"}

    def begin(*how: str) -> subprocess.Popen[str]:
        made: subprocess.Popen[str] = popen(
            [sys.executable, "-c", SEARCH, *how],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return made

    return begin


@pytest.fixture(scope="module")
def compiled() -> None:
    """What these rows need is in memory."""
    for metric in definition.METRICS:
        ExactIndex(ROWS, metric).search(ROWS[:3], 4)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch, compiled: None, folder: Path) -> Iterator[threading.Event]:
    """This process waits for no compiler, nothing is kept, and no child is started: it "ends" at this event, and leaves nothing."""
    ended = threading.Event()
    monkeypatch.setenv(meanwhile.HOW, "beside")
    monkeypatch.setattr(meanwhile, "_compile", lambda _: ended.wait(LONG) or None)
    monkeypatch.setattr(meanwhile, "_compilers", {})
    yield ended
    ended.set()


def path(index: ExactIndex) -> str:
    return str(index.search(ROWS[:3], 4).certificate.path[0])


@pytest.mark.parametrize("how", ["beside", pytest.param("at once", marks=pytest.mark.slow)])
def test_the_first_answer_is_numpys_and_a_later_one_has_the_same_bits(start: Start, folder: Path, how: str) -> None:
    """Most code lies there, so that the child need not take a minute: what says that it is all is missing."""
    if Path(KEPT, folder.name).exists():
        shutil.copytree(Path(KEPT, folder.name), folder, ignore=shutil.ignore_patterns("*.all"))
        folder.parent.chmod(0o700)
    expected = definition.search(ROWS, ROWS[:3], 4, "l2")
    mark = Kind("float32", "C", "portable").mark
    out, err = start(how).communicate(timeout=2 * LONG)
    answers = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert answers[0][0] == ["plain"]
    assert answers[-1][0] == ["portable"]
    assert all(answer[1:] == [expected.ids.tolist(), expected.distances.tolist()] for answer in answers)
    assert mark in os.listdir(folder)
    out, _ = start(how).communicate(timeout=LONG)
    assert [json.loads(line)[0] for line in out.splitlines()] == [["portable"]], "the next process finds it"


def test_memory_that_is_too_little_is_refused_when_it_is_given(beside: threading.Event) -> None:
    """Not by some search a minute later, when compiling ends."""
    with pytest.raises(KnnscopeError, match=r"memory = 1,000 bytes: 900 rows of 20 components need"):
        ExactIndex(ROWS, memory="1KB")
    index = ExactIndex(ROWS, memory="1MB")
    assert 0 < index.nbytes <= 1_000_000
    assert path(index) != "plain"


def test_the_child_ends_with_a_process_that_is_killed(start: Start) -> None:
    parent = start("once", "stay")
    assert parent.stdout is not None
    assert json.loads(parent.stdout.readline())[0] == ["plain"]
    until(lambda: bool(offspring(parent.pid)), "a child")
    child = offspring(parent.pid).pop()
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    until(lambda: gone(child), "the end of the child")


def test_a_process_that_ends_waits_for_no_child_and_leaves_none(start: Start) -> None:
    parent = start("once", "stay")
    assert parent.stdout is not None
    parent.stdout.readline()
    until(lambda: bool(offspring(parent.pid)), "a child")
    child = offspring(parent.pid).pop()
    parent.send_signal(signal.SIGINT)  # an exception: Python's own end
    _, err = parent.communicate(timeout=LONG)
    assert parent.returncode == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    until(lambda: gone(child), "the end of the child")


def test_the_child_is_told_whom_to_end_with_and_to_wait(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    seen: list[Any] = []
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "numba")
    monkeypatch.setattr(meanwhile.subprocess, "run", lambda command, **how: seen.append((command, how)))
    kind = Kind("int8", "F", "avx2", "small")
    meanwhile._compile(kind)
    (command, how) = seen[0]
    assert command == [sys.executable, "-m", "knnscope.certified", *kind]
    assert how["env"][processes.PARENT] == str(os.getpid())
    assert how["env"][meanwhile.HOW] == "wait"
    assert how["env"]["NUMBA_CACHE_DIR"] == os.fspath(folder.parent), "it starts in another folder"
    assert {how[stream] for stream in ("stdin", "stdout", "stderr")} == {subprocess.DEVNULL}


def test_processes_compile_one_after_another_and_the_second_has_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    kind, begun, go, compiled = Kind("float32", "C", "portable"), threading.Event(), threading.Event(), list[Kind]()

    def steps(kind: Kind) -> Iterator[None]:
        compiled.append(kind)
        begun.set()
        assert go.wait(LONG)
        kind.set_compiled()
        yield

    monkeypatch.setattr(warm, "steps", steps)
    threads = [threading.Thread(target=warm.compile_for, args=kind) for _ in range(2)]
    threads[0].start()
    assert begun.wait(LONG)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert compiled == [kind]


def test_rows_of_every_kind_are_of_that_kind() -> None:
    values = np.arange(60).reshape(12, 5)
    for dtype in (*definition.DTYPES, "bfloat16"):
        for order in "CFA":
            kind = Kind(dtype, order, "avx2")
            rows = example(kind, values)
            assert kind_of(rows, "avx2") == kind
            if dtype != "bfloat16":
                assert kind_of(as_rows(rows), "avx2") == kind
                assert (rows == values).all()


@pytest.mark.parametrize(("order", "memory"), [*((order, "fast") for order in "CFA"), ("C", "small")])
def test_all_is_compiled_for_any_order(order: str, memory: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What the steps search is what they compile for."""
    seen = set()

    class Looks:
        def __init__(self, isa: str, threads: int, memory: str) -> None:
            self.isa, self.memory = isa, memory

        def build(self, rows: np.ndarray, *_: object) -> Looks:
            seen.add(kind_of(rows, self.isa, self.memory))
            return self

        def nearest(self, *_: object) -> None:
            pass

        def prompt(self, *_: object) -> None:
            pass

        def prepare(self) -> None:
            pass

        within = graph = prompt

    monkeypatch.setattr(warm, "CpuScanner", Looks)
    kind = Kind("int8", order, "portable", memory)
    assert not kind.is_compiled()
    list(warm.steps(kind))
    assert seen == {kind}
    assert kind.is_compiled()


@pytest.mark.parametrize("at_once", [0, 1 << 30])
def test_a_child_that_leaves_nothing_is_not_waited_for(
    at_once: int, beside: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, or of another version: this process compiles."""
    monkeypatch.setattr(meanwhile, "AT_ONCE", at_once)
    index, other = ExactIndex(ROWS), ExactIndex(ROWS, "ip")
    assert [path(index), path(index), path(other)] == ["plain"] * 3
    assert "NumPy" in index.levels
    assert len(meanwhile._compilers) == 1, "one child for all"
    before = index.nbytes
    beside.set()
    until(lambda: path(index) != "plain", "compiled code")
    until(lambda: path(other) != "plain", "compiled code")
    assert index.nbytes > before
    assert "a byte a component" in index.levels


def test_whoever_measures_waits(beside: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    index = ExactIndex(ROWS)
    assert path(index) == "plain"
    assert path(index.wait()) != "plain"
    assert path(index.wait()) != "plain"
    assert CertifiedEngine().build(ROWS, "l2").search(ROWS[:3], 4).certificate.path == ("plain",), "a search at hand"
    monkeypatch.setenv(meanwhile.HOW, "wait")  # as compare's children have it, see test_child.py
    assert CertifiedEngine().build(ROWS, "l2").search(ROWS[:3], 4).certificate.path != ("plain",)
    assert path(ExactIndex(ROWS)) != "plain"
    monkeypatch.setenv(meanwhile.HOW, "never")
    with pytest.raises(KnnscopeError, match="KNNSCOPE_COMPILE is 'never': beside"):
        ExactIndex(ROWS)


@pytest.mark.parametrize("why", ["unwritable", "frozen", "no program"])
def test_where_no_child_helps_this_process_compiles(
    why: str, beside: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "unwritable":
        monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/knnscope")
    elif why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", None)
    assert path(ExactIndex(ROWS)) != "plain"
    assert not meanwhile._compilers


def test_without_another_thread_this_process_compiles(beside: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanwhile, "start_thread", lambda *_: False)
    beside.set()
    assert path(ExactIndex(ROWS)) != "plain"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("at_once", [0, 1 << 30])
def test_a_fork_has_a_child_of_its_own(at_once: int, beside: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanwhile, "AT_ONCE", at_once)
    index = ExactIndex(ROWS)
    assert path(index) == "plain"
    if (child := os.fork()) == 0:
        signal.alarm(int(LONG))
        first = path(index)
        beside.set()
        until(lambda: path(index) != "plain", "compiled code")
        os._exit(0 if first == "plain" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path(index) == "plain"


def test_rows_that_were_changed_meanwhile_are_an_error_of_the_next_search(
    beside: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meanwhile, "AT_ONCE", 0)
    beside.set()
    rows = ROWS.copy()
    index = ExactIndex(rows)
    rows[7, 3] = np.nan
    messages: list[str] = []

    def named() -> bool:
        try:
            index.search(ROWS[:1], 1)
        except KnnscopeError as error:
            messages.append(str(error))
        return bool(messages) and "row 7 has nan in component 3" in messages[-1]

    until(named, "an error that names the row")
    assert all("row 7" in message for message in messages)


def test_writing_codes_stops_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, done = ending.UntilTheEnd(1), list[int]()

    def work(item: int) -> None:
        done.append(item)
        if item == 2:
            monkeypatch.setattr(ending, "_ending", True)

    with pytest.raises(ending.EndingError):
        workers.map(work, range(5))
    assert done == [0, 1, 2]
    assert not ending._writing


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_hears_of_it_once(
    terminal: bool, beside: threading.Event, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    meanwhile._announce.cache_clear()
    for metric in definition.METRICS:
        path(ExactIndex(ROWS, metric))
    said = capsys.readouterr()
    assert said.err.count("in the background") == terminal
    assert len(said.err.splitlines()) == terminal
    assert said.out == ""
