"""Engines that fail in processes of their own: the right status for each, nothing else harmed, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import threads
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.verdict import verdicts
from knnscope.bench import child as children
from knnscope.bench import result
from knnscope.bench.child import Child, Data
from knnscope.bench.failures import FailedError
from knnscope.bench.plan import Case, Options
from knnscope.bench.runner import Measured, Run, Runner
from knnscope.compiling import HOW
from knnscope.errors import KnnscopeError
from knnscope.search import reference
from knnscope.search.catalog import Entry
from knnscope.search.grading import Judge
from tests.bench import planted
from tests.processes import LONG, fields, gone, offspring, stopped, until

K = 6
FACTS = result.Facts("made up", 200, 8, "float32", 4, "l2", 2)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    random = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", random.standard_normal((200, 8)).astype(np.float32))
    np.save(tmp_path / "queries.npy", random.standard_normal((20, 8)).astype(np.float32))
    return Data(tmp_path / "rows.npy", tmp_path / "queries.npy", "l2")


@pytest.fixture
def started(data: Data) -> Iterator[Callable[..., Child]]:
    """Children that are ended after the test, whatever it found."""
    made: list[Child] = []

    def start(name: str, options: Options | None = None) -> Child:
        made.append(Child(planted.ENGINES[name], data, options or Options()))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_a_child_waits_for_the_compiler(started: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code is measured, never what answers meanwhile."""
    monkeypatch.setenv(HOW, "beside")
    shown = Path(f"/proc/{started('Right')._process.pid}/environ")
    deadline = time.monotonic() + 30
    while not (environment := shown.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)  # a program that is being loaded has none yet
    assert f"{HOW}=wait".encode() in environment.split(b"\0")


def measure(data: Data, names: list[str], batches: tuple[int, ...] = (1,), k: int = K, rounds: int = 7) -> Run:
    """Planted engines through real children and the real judge."""
    rows, queries = np.load(data.rows), np.load(data.queries)
    judge = Judge(rows, queries, reference.answers(rows, queries, k, data.metric), data.metric)
    formula = planted.Right().formula("l2", "float32", 1, 8)
    options = Options(rounds=rounds, seconds=3, cold=False)

    def start(name: str) -> Child:
        patience = 2.0 if name.startswith("Hangs") else LONG
        memory = 1 << 29 if name.startswith("Exhausts") else None
        return Child(planted.ENGINES[name], data, Options(threads=1, timeout=patience, memory=memory))

    runner = Runner(start, lambda _, given: judge.grade(given[1], given[0], formula, given[2]), len(queries), options)
    return runner.run([Case(name, k, batch, "host") for name in names for batch in batches])


def rows_of(m: Measured) -> list[Measurement]:
    return [jsonl.check(row) for row in result.rows_of(m, FACTS, result.About("cpu"))]


def cpu_ticks(number: int) -> int:
    return sum(map(int, fields(Path(f"/proc/{number}/stat"))[11:13]))


ENDS = {
    "Exhausts": ("oom", "^MemoryError: Unable to allocate 64.0 MiB"),
    "ExhaustsInCrumbs": ("oom", "MemoryError"),
    "BadAlloc": ("oom", "bad_alloc"),  # these three first: where others are, they are closed and it is tried again
    "Right": ("ok", None),
    "WrongIds": ("wrong", None),
    "WrongOrder": ("wrong", None),
    "Twice": ("wrong", None),
    "TooFew": ("wrong", None),
    "Negative": ("wrong", None),
    "OutOfRange": ("wrong", None),
    "Fickle": ("wrong", None),
    "TooMany": ("crashed", r"^ValueError: ids of shape \(1, 12\) for 1 queries and k = 6$"),
    "Raises": ("crashed", "^RuntimeError: no luck today$"),
    "RaisesBuilding": ("crashed", "^ValueError$"),
    "SaysNothing": ("unsupported", "^KnnscopeError$"),
    "Aborts": ("crashed", "^its process ended by signal SIGABRT: the library's last words$"),
    "Exits": ("crashed", "^its process ended with exit code 3$"),
    "SpeaksOfMemory": ("crashed", "SIGABRT: memory allocator ready"),
    "Hangs": ("timeout", r"^no answer within 2 s \(--timeout\)$"),
    "HangsDeaf": ("timeout", "no answer within 2 s"),
    "Chatters": ("ok", None),
    "Spins": ("ok", None),
    "Missing": ("missing", r"^no_such_library is not installed: .*pip install -e .*\[cpu\]'$"),
    "Shallow": ("unsupported", "^k = 6 is above this engine's limit of 5$"),
    "AlsoRight": ("ok", None),
}


def test_each_ends_as_its_status_and_harms_no_other(data: Data) -> None:
    before = offspring(os.getpid(), ended_too=True)
    run = measure(data, list(ENDS), rounds=1)
    assert offspring(os.getpid(), ended_too=True) <= before  # another test's may have ended meanwhile
    found = {m.case.engine: (m, rows_of(m)) for m in run.measured}
    for name, (status, reason) in ENDS.items():
        m, rows = found[name]
        assert {row.status for row in rows} == {status}, (name, m.reason)
        if reason is None:
            assert m.reason is None
            assert [row.cache for row in rows] == ["first", "hot"]
            assert len(list(filter(None, m.hot))) == m.builds == 1, name
            assert (rows[1].evidence is None) == (status == "ok")
        else:
            assert m.reason is not None
            assert re.search(reason, m.reason), (name, m.reason)
            assert "\n" not in m.reason
            (row,) = rows
            assert (row.reason, row.median_ns, row.grade) == (m.reason, None, None)
    evidence = {name: found[name][1][1].evidence for name, (status, _) in ENDS.items() if status == "wrong"}
    assert evidence["WrongOrder"].why == "is nearer and comes later"
    assert evidence["WrongOrder"].rank == 1
    assert evidence["Twice"].why == "is given twice"
    assert evidence["TooFew"].ids[-1] == evidence["Negative"].row == -1
    assert evidence["TooFew"].why == evidence["OutOfRange"].why == "is no row: there are 200"


def test_of_few_rounds_each_has_a_process(data: Data) -> None:
    (right,) = measure(data, ["Right"], rounds=2).measured
    assert (right.status, right.builds, len(list(filter(None, right.hot)))) == ("ok", 2, 2)


def test_15_percent_longer_is_found_and_a_faster_wrong_one_does_not_win(data: Data) -> None:
    run = measure(data, ["TakesLonger", "Takes", "WrongIds"], rounds=14)
    (verdict,) = verdicts([row for m in run.measured for row in rows_of(m)])
    assert (verdict.engine, verdict.grade) == ("Takes", "exact")
    (rival,) = verdict.rivals
    assert rival.engine == "TakesLonger"
    assert rival.significant
    assert 1.1 < rival.ratio < 1.2


def test_a_case_that_kills_its_process_leaves_the_others_of_its_engine(data: Data) -> None:
    run = measure(data, ["AbortsAtTen", "Right"], (1, 10, 20), rounds=3)
    status = {(m.case.engine, m.case.batch): m.status for m in run.measured}
    assert status.pop(("AbortsAtTen", 10)) == "crashed"
    assert set(status.values()) == {"ok"}
    assert [m.builds for m in run.measured] == [4, 4, 4, 3, 3, 3]


def test_a_metric_that_it_has_not(data: Data) -> None:
    cosine = Data(data.rows, data.queries, "cosine")
    only, right = measure(cosine, ["OnlyL2", "Right"], rounds=1).measured
    assert (only.status, only.reason) == ("unsupported", "this engine has no metric 'cosine': it has l2")
    assert right.status == "ok"


def test_a_process_that_hangs_up_is_not_waited_for(
    started: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "ENDS_WITHIN", 0.5)
    child = started("HangsUp")
    child.build()
    with pytest.raises(FailedError, match="closed the pipe") as caught:
        child.warm(Case("HangsUp", K, 1, "host"))
    assert caught.value.status == "crashed"
    assert gone(child._process.pid)


def test_thread_budget_inside_the_child(started: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "OMP_WAIT_POLICY", "MKL_DYNAMIC", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    for budget, expected in ((3, dict.fromkeys(threads.COUNTS, "3")), (None, {})):
        with pytest.raises(FailedError) as caught:
            started("Tells", Options(threads=budget)).build()
        assert json.loads(caught.value.reason) == expected


def test_a_paused_child_takes_no_time_and_comes_back(started: Callable[..., Child]) -> None:
    child = started("Spins")
    child.build()
    number = child._process.pid

    def takes_time() -> None:
        start = cpu_ticks(number)
        until(lambda: cpu_ticks(number) > start, "time of a process that spins")

    takes_time()
    (helper,) = offspring(number)
    child.pause()
    until(lambda: stopped(number) and stopped(helper), "a paused process and its own ones, stopped")
    assert len(child.turn(Case("Spins", K, 1, "host"), [0, 1]).samples) == 2
    takes_time()
    child.pause()
    child.pause()
    child.close()
    assert gone(number)
    until(lambda: gone(helper), "its own processes end with it")


def test_the_limit_is_the_engines_not_the_harness_s(started: Callable[..., Child]) -> None:
    """Overwriting the caches takes more than this where the last level is large."""
    child = started("Right", Options(threads=1, memory=384 << 20))
    child.build()
    assert len(child.turn(Case("Right", K, 1, "host"), [0], cold=True).samples) == 1


PARENT = """
import sys, time
from pathlib import Path
from knnscope.bench.child import Child, Data
from knnscope.bench.plan import Case, Options
from knnscope.bench.runner import Runner
from tests.bench import planted

data = Data(Path(sys.argv[1]), Path(sys.argv[2]), "l2")
class Told(Child):
    def build(self):
        built = super().build()
        print(self._process.pid, flush=True)
        return built
    def warm(self, case):
        print("warms up", flush=True)
        return super().warm(case)
run = Runner(lambda name: Told(planted.ENGINES[name], data, Options()), None, 20, Options()).run(
    [Case("AlsoRight", 6, 1, "host"), Case(sys.argv[3], 6, 1, "host"), Case("Right", 6, 1, "host")])
print(*[m.status for m in run.measured], run.interrupted, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_its_parent(
    data: Data, root: Path, child_environment: dict[str, str], how: signal.Signals, popen: Callable[..., Any]
) -> None:
    """A stopped one and one that hangs, after Ctrl-C and after kill -9."""
    parent = popen(
        [sys.executable, "-c", PARENT, str(data.rows), str(data.queries), "Hangs"],
        env=child_environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    said = [parent.stdout.readline() for _ in range(4)]
    assert said[1::2] == ["warms up\n"] * 2
    numbers = list(map(int, said[::2]))
    assert offspring(parent.pid) == set(numbers)
    until(lambda: stopped(numbers[0]), "the first, stopped while the second works")
    parent.send_signal(how)
    out, _ = parent.communicate(timeout=LONG)
    until(lambda: all(map(gone, numbers)), "the end of both")
    expected = "interrupted interrupted interrupted True\n" if how == signal.SIGINT else ""
    assert out == expected


def test_a_child_whose_parent_is_another_process_ends(root: Path, child_environment: dict[str, str]) -> None:
    """Process 1 may be the parent (in a container), any other than the one that started it may not."""
    code = "import sys; from knnscope import processes; processes.end_with(int(sys.argv[1])); print('serves')"
    for parent, says in ((os.getpid(), "serves\n"), (1 if os.getpid() != 1 else 2, "")):
        command = [sys.executable, "-c", code, str(parent)]
        done = subprocess.run(command, env=child_environment, capture_output=True, text=True, cwd=root)
        assert done.stdout == says
        assert (done.returncode == 0) == bool(says)


def test_files_of_the_user_do_not_stand_in_for_libraries(
    started: Callable[..., Child], tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.py").write_text("raise SystemExit('not a library')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('not a library')")
    child = Child(planted.ENGINES["Right"], Data(Path("rows.npy"), Path("queries.npy"), "l2"), Options())
    try:
        assert child.build().build_ns > 0
        found = child.answers(3, 7, 20)
    finally:
        child.close()
    expected = reference.answers(np.load(data.rows), np.load(data.queries), 3, "l2")
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_large_rows_are_mapped(started: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, data: Data) -> None:
    opened = []
    monkeypatch.setattr(children, "Worker", lambda _, rows, *__: opened.append(rows))
    message = {
        "entry": asdict(planted.ENGINES["Right"]),
        "rows": str(data.rows),
        "queries": str(data.queries),
        "metric": "l2",
        "memory": None,
    }
    for available, kind in ((1 << 40, np.ndarray), (1, np.memmap)):
        monkeypatch.setattr(children, "memory", lambda available=available: {"available": available})
        children._open(message)
        assert type(opened[-1]) is kind


def test_without_a_temporary_folder_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none(*_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(children.tempfile, "TemporaryFile", none)
    with pytest.raises(KnnscopeError, match=r"no temporary file can be written .*: set TMPDIR"):
        Child(Entry("a:B", "a", "cpu", "x"), Data(tmp_path, tmp_path, "l2"), Options())
