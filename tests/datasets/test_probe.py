"""Files that crash the libraries which read them: another process looks first, and this one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from knnscope.datasets import probe, registry, vector_files
from knnscope.errors import KnnscopeError
from tests.datasets.vector_writers import make
from tests.processes import gone, until

STAND_IN = (
    "import os, sys, time; from knnscope.datasets import endings, probe\n"
    "def touch(path):\n"
    "    if path.name == 'abort': os.abort()\n"
    "    if path.name == 'loop': time.sleep(3600)\n"
    "    if path.name == 'raise': raise ValueError\n"
    "    os.write(1, b'6\\n')\n"
    "endings.reader = lambda how: touch\n"
    "probe.serve(*sys.argv[1:])\n"
)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process waits yet, and one that does waits longer than a test takes."""
    monkeypatch.setattr(probe, "_probers", {})
    monkeypatch.setattr(probe, "IDLE", 600.0)
    yield
    probe._end()


@pytest.fixture
def here(tmp_path: Path, anew: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files whose names say what a look at them does."""
    for name in ("abort", "loop", "raise", "fine", "also fine"):
        (tmp_path / name).write_text("x")
    monkeypatch.setattr(probe, "SERVE", STAND_IN)
    return tmp_path


def look(path: Path) -> None:
    probe.look("stand:in", path, "HDF5")


def number() -> int:
    return probe._probers["stand:in"]._process.pid


def fuzz(folder: Path, count: int, environment: dict[str, str]) -> None:
    """Flip a bit of a footer, so often, and load the file, all in one process, which has to come to its end."""
    path = folder / "x.parquet"
    column = pyarrow.FixedSizeListArray.from_arrays(np.arange(24, dtype=np.float32), 4)
    pyarrow.parquet.write_table(pyarrow.table({"v": column}), path)
    code = (
        "import random, sys; from pathlib import Path\n"
        "from knnscope.datasets import registry; from knnscope.errors import KnnscopeError\n"
        "path = Path(sys.argv[1]); whole = path.read_bytes(); size = int.from_bytes(whole[-8:-4], 'little')\n"
        "rng = random.Random(5); said = []\n"
        "for number in range(int(sys.argv[2])):\n"
        "    raw = bytearray(whole); raw[rng.randrange(len(raw) - 8 - size, len(raw) - 8)] ^= 1 << rng.randrange(8)\n"
        "    part = path.with_name(f'{number}.parquet'); part.write_bytes(raw)\n"
        "    try: registry.load(str(part))\n"
        "    except KnnscopeError as error: said.append(str(error))\n"
        "    part.unlink()\n"
        "assert 0 < len(said) < int(sys.argv[2]) and all('\\n' not in line for line in said)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(count)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_damaged_footer_ends_the_process(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """Three of these two hundred make pyarrow call std::terminate: a histogram has another length than it claims."""
    fuzz(tmp_path, 200, child_environment)


@pytest.mark.slow
def test_no_damaged_footer_of_thousands_ends_the_process(tmp_path: Path, child_environment: dict[str, str]) -> None:
    fuzz(tmp_path, 5000, child_environment)


def test_a_look_that_crashes_or_does_not_end_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # what crashed once is looked at again
        with pytest.raises(
            KnnscopeError, match=r"abort: a damaged HDF5 file: reading its header crashes \(signal 6\)$"
        ):
            look(here / "abort")
        look(here / "fine")
        look(here / "raise")  # the reader itself is going to say why
    probe._end()
    monkeypatch.setattr(probe, "SECONDS", 1)
    for _ in range(2):
        with pytest.raises(KnnscopeError, match=r"loop: a damaged HDF5 file: reading its header does not end$"):
            look(here / "loop")
    with pytest.raises(KnnscopeError, match="none: no such file"):
        look(here / "none")


def test_a_file_is_looked_at_once_as_long_as_it_stays_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = probe._Prober.ask
    monkeypatch.setattr(probe._Prober, "ask", lambda self, path: asked.append(path.name) or ask(self, path))
    for _ in range(3):
        look(here / "fine")
    look(here / "also fine")
    assert asked == ["fine", "also fine"]
    (here / "fine").write_text("changed")
    look(here / "fine")
    assert asked == ["fine", "also fine", "fine"]


def test_a_table_of_several_uses_is_looked_at_once(tmp_path: Path, anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    ask = probe._Prober.ask
    monkeypatch.setattr(probe._Prober, "ask", lambda self, path: asked.append(path) or ask(self, path))
    for name in ("a.parquet", "a.hdf5"):
        path, values = make(tmp_path, name)
        for _ in range(2):
            np.testing.assert_array_equal(registry.load(str(path))[0].documents.values, values)
        assert asked == [path]
        asked.clear()
    path, _ = make(tmp_path, "list.arrow")  # of IPC files no damage is known that pyarrow does not say
    vector_files.load(str(path))
    assert asked == []


def test_the_process_that_looks_is_started_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed; it ended since nothing was asked; the thread that started it has ended."""
    look(here / "fine")
    first = number()
    os.kill(first, signal.SIGKILL)
    look(here / "also fine")
    assert number() != first
    probe._end()
    monkeypatch.setattr(probe, "IDLE", 0.01)
    look(here / "fine")
    (here / "fine").write_text("changed")
    look(here / "fine")
    until(lambda: gone(number()), "its end")
    monkeypatch.setattr(probe, "IDLE", 600.0)
    (here / "fine").write_text("changed again")
    thread = threading.Thread(target=look, args=(here / "fine",))
    thread.start()
    thread.join()
    until(lambda: gone(number()), "its end with its thread")
    (here / "fine").write_text("and again")
    look(here / "fine")


def test_several_threads_and_a_forked_process_ask(here: Path) -> None:
    paths = [here / str(i) for i in range(12)]
    for path in paths:
        path.write_text("x")
    failed: list[BaseException] = []

    def some(mine: list[Path]) -> None:
        try:
            for path in mine:
                look(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=some, args=(paths[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    look(here / "fine")
    before = number()
    child = os.fork()
    if not child:
        code = 1
        try:
            look(here / "also fine")
            code = 0 if number() != before else 2
            probe._end()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (here / "fine").write_text("changed")
    look(here / "fine")
    assert number() == before


def test_one_that_does_not_start_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SERVE", "raise SystemExit(1)")
    with pytest.raises(
        KnnscopeError, match=r"fine: not read, since the process that looks at HDF5 files first does not start"
    ):
        look(here / "fine")
    monkeypatch.setattr(probe.sys, "executable", str(here / "none"))
    with pytest.raises(KnnscopeError, match="no such file or folder"):
        look(here / "fine")
    assert not probe._probers


def test_one_that_does_not_answer_is_no_damaged_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.1)
    monkeypatch.setattr(probe, "START", 0.1)
    monkeypatch.setattr(probe, "SERVE", "import time; time.sleep(3600)")
    with pytest.raises(
        KnnscopeError, match=r"fine: not read, since the process that looks at HDF5 files first does not"
    ):
        look(here / "fine")
    assert not probe._probers


def test_interrupted_it_does_not_answer_for_the_next_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    look(here / "fine")
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        look(here / "loop")
    timer.join()
    assert time.monotonic() - began < probe.SECONDS
    with pytest.raises(KnnscopeError, match="abort: a damaged"):
        look(here / "abort")
