"""What a run that fails leaves: no empty folder, one line in words."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from knnscope import store
from knnscope.analysis import run
from knnscope.api import climbing, embedding, recording, reporting
from knnscope.bench import session
from knnscope.cli import demo, embed
from knnscope.errors import KnnscopeError
from tests.cli.conftest import Run, refused
from tests.cli.test_compare_stopped import is_engine
from tests.processes import LONG, offspring, until

NSYS = "#!/bin/sh\necho NVIDIA Nsight Systems version 2099.1.1\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "argv",
    [
        ("compare", "nosuch"),
        ("compare", "sample", "-k", "100000", "--out", "a/b"),
        ("compare", "sample", "--queries", "nosuch.npy"),
        ("embed", "nosuch", "-o", "a/b"),
        ("embed", "sample", "--encoder", "nosuch", "-o", "a/b"),
        ("embed", "sample", "--device", "tpu", "-o", "a/b"),
        ("demo", "--encoder", "nosuch"),
        ("ladder", "nosuch"),
        ("profile", "--nsys", "nosuch", "--", "true"),
        ("profile", "--nsys", "./nsys", "--", "true"),
    ],
    ids=" ".join,
)
def test_no_folder(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]) -> None:
    monkeypatch.setattr(recording, "gpu_problem", lambda: None)
    (tmp_path / "nsys").write_text(NSYS)
    (tmp_path / "nsys").chmod(0o755)
    code, _, err = knnscope(*argv)
    refused((code, "", err), ".")
    assert [p.name for p in tmp_path.iterdir()] == ["nsys"]


@pytest.mark.parametrize("error", [KnnscopeError("no luck"), KeyboardInterrupt(), MemoryError(), OSError(5, "no luck")])
def test_no_folder_whatever_ends_it(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(session, "measure", fail)
    monkeypatch.setattr(climbing, "_ceilings", lambda where: ({}, []))
    monkeypatch.setattr(climbing.environment, "collect", fail)
    np.save("v.npy", np.eye(50, dtype=np.float32))
    for command in ("compare", "ladder"):
        assert knnscope(command, "v.npy", *(["-k", "3", "--rungs", "gemm"] if command == "ladder" else []))[0] != 0
        assert [p.name for p in tmp_path.iterdir()] == ["v.npy"], command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["compare", "ladder", "embed", "demo", "profile"])
def test_no_folder_where_a_signal_ends_it(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, number: signal.Signals
) -> None:
    """The exit code is the one that a shell gives, and the handlers are those of before."""

    def end(*_: object, **__: object) -> NoReturn:
        os.kill(os.getpid(), number)
        signal.pause()

    monkeypatch.setattr(session, "measure", end)
    monkeypatch.setattr(embedding, "encoded", end)
    monkeypatch.setattr(demo, "texts_text", end)
    monkeypatch.setattr(recording, "gpu_problem", lambda: None)
    monkeypatch.setattr(recording.nsys, "find", end)
    monkeypatch.setattr(climbing, "_ceilings", lambda where: ({}, []))
    monkeypatch.setattr(climbing.environment, "collect", end)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)  # whatever those who run the tests ignore
    np.save("v.npy", np.eye(50, dtype=np.float32))
    argv = {
        "compare": ("v.npy", "-k", "3", "--out", "a/b"),
        "ladder": ("v.npy", "-k", "3", "--rungs", "gemm"),
        "embed": ("sample", "-o", "a/b"),
        "profile": ("--", "true"),
    }
    was = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        code, _, err = knnscope(command, *argv.get(command, ()))
    finally:
        for n, handler in was.items():
            signal.signal(n, handler)
    assert code == 128 + number
    assert err.splitlines()[-1].startswith("knnscope: interrupted; ")
    assert [p.name for p in tmp_path.iterdir()] == ["v.npy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_signal_leaves_of_a_comparison_under_way(
    tmp_path: Path,
    child_environment: dict[str, str],
    popen: Callable[..., Any],
    number: signal.Signals,
) -> None:
    """Whole files, or nothing at all where nothing could be said any more."""
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32))
    command = [
        sys.executable,
        "-m",
        "knnscope",
        "compare",
        "v.npy",
        "--engines",
        "numpy64",
        "--quick",
        "--threads",
        "1",
    ]
    process = popen(command, env=child_environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: process.poll() is not None or any(map(is_engine, offspring(process.pid))), "an engine's process")
    assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=LONG)
    assert b"Traceback" not in err
    if number == signal.SIGKILL:
        assert [p.name for p in tmp_path.iterdir()] == ["v.npy"]
        return
    assert process.returncode == 128 + number, err
    (folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in folder.iterdir()} == {"results.jsonl", "verdict.json", "environment.json", "run.json"}


def test_a_folder_that_was_there_stays(knnscope: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert knnscope("compare", "nosuch", "--out", "mine")[0] == 2
    assert knnscope("compare", "nosuch", "--out", "mine/a/b")[0] == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_each_file_of_a_run_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, number: int
) -> None:
    calls = []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == number:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KnnscopeError) as caught:
        run.save(run.ComparisonRun(()), tmp_path / "run")
    assert "/run/" in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert len(list((tmp_path / "run").iterdir())) == number - 1, "whole files, or none"


def test_a_write_that_numpy_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells how many numbers it wrote, and no reason."""

    def broken(*_: object, **__: object) -> NoReturn:
        raise OSError("160000 requested and 25568 written")

    def write() -> None:
        with store.whole_file(tmp_path / "x.npy") as file:
            np.save(file, np.ones(3))

    monkeypatch.setattr(np, "save", broken)
    task = session.Task("x", np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), "l2")
    for attempt in (lambda: session.vector_files(task, 1).__enter__(), write):
        with pytest.raises(KnnscopeError, match="the disk is full, or ulimit -f is reached"):
            attempt()
    assert not list(store.home().glob("compare-*"))


def test_an_output_that_cannot_be_written_is_named(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(embed.Embed, "run", full)
    refused(knnscope("embed", "sample"), "^knnscope: what is printed: the disk is full")


def test_a_folder_of_vectors_that_cannot_be_held_goes_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sweeps one without its lock."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(session.fcntl, "flock", full)
    monkeypatch.setattr(session, "locked", lambda _: contextlib.nullcontext())
    task = session.Task("x", np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), "l2")
    with pytest.raises(KnnscopeError, match="the disk is full"):
        session.vector_files(task, 1).__enter__()
    assert not list(home.glob("compare-*"))


@pytest.mark.parametrize(
    "argv",
    [
        ("ladder", "v.npy", "-k", "3", "--rungs", "gemm", "--out", "a"),
        ("compare", "v.npy", "-k", "3", "--engines", "numpy", "--batch", "1", "--quick", "--out", "a"),
    ],
    ids=["ladder", "compare"],
)
def test_a_run_that_is_kept_while_its_page_is_written_is_not_said_to_go_on(
    knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], one_process: None
) -> None:
    """The same command refuses its folder from then on."""

    def stopped(_: object) -> NoReturn:
        raise KeyboardInterrupt

    np.save("v.npy", np.eye(50, dtype=np.float32))
    monkeypatch.setattr(climbing, "_ceilings", lambda where: ({}, []))
    monkeypatch.setattr(reporting, "beside", stopped)
    code, _, err = knnscope(*argv)
    assert code == 130
    assert err.splitlines()[-1] == "knnscope: interrupted; what was finished is kept"
    assert (tmp_path / "a" / "results.jsonl").exists()
