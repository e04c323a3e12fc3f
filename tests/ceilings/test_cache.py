"""Ceilings are measured once for an environment, in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knnscope import environment, threads
from knnscope.ceilings import __main__ as process
from knnscope.ceilings import cache, cpu
from knnscope.errors import KnnscopeError
from tests.ceilings.conftest import CPU, Measured
from tests.processes import LONG, gone, until


def test_measured_once_for_each_budget(child: Measured, home: Path) -> None:
    assert cache.cached("cpu", 1) is None
    found = cache.obtain("cpu", 1)
    assert found == cache.obtain("cpu", 1) == cache.cached("cpu", 1)
    assert found == replace(CPU, key=cache.key_of("cpu", 1))
    cache.obtain("cpu", 2)
    cache.obtain("cpu")  # every usable core
    assert child() == [f"cpu {n} {n}" for n in dict.fromkeys((1, 2, threads.usable()))]
    assert len(list(home.glob("ceilings/*.json"))) == len(child())
    assert cache.obtain("cpu", 1, fresh=True) == found
    assert child()[-1] == "cpu 1 1"


def test_another_environment_is_measured_anew(child: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.obtain("cpu", 1)
    real = environment.cpu()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "cpu", lambda: {**real, "model": "another"})
        assert cache.cached("cpu", 1) is None
        assert cache.obtain("cpu", 1).key["model"] == "another"
    with monkeypatch.context() as patch:
        patch.setattr(cache, "CODE", cache.CODE + 1)
        assert cache.cached("cpu", 1) is None
    assert cache.cached("cpu", 1) is not None
    assert len(child()) == 2


def test_the_gpu_key_holds_driver_and_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for driver, visible in (("1", "0"), ("2", "0"), ("2", "1")):
        monkeypatch.setattr(environment, "gpus", lambda driver=driver: [{"name": "x", "driver": driver}])
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        keys.append(cache.path_of(cache.key_of("cuda", None)))
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"null", b'{"read": NaN}', b"[" * 200_000, b"other key"],
    ids=lambda content: content[:12],
)
def test_a_damaged_or_foreign_file_is_measured_anew(child: Measured, content: bytes) -> None:
    found = cache.obtain("cpu", 1)
    path = cache.path_of(found.key)
    path.write_bytes(json.dumps(CPU.to_json()).encode() if content == b"other key" else content)
    assert cache.cached("cpu", 1) is None
    assert cache.obtain("cpu", 1) == found == cache.cached("cpu", 1)
    assert len(child()) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('no such luck')", "could not be measured: RuntimeError: no such luck$"),
        ("import sys; sys.exit(3)", "could not be measured: exit code 3, nothing said$"),
        ("import os; os.kill(os.getpid(), 9)", "could not be measured: exit code -9"),
        ("print('{}')", "gave no figures"),
        ("", "gave no figures"),
        ("import time; time.sleep(3600)", "took more than 1 s"),
    ],
)
def test_a_child_that_fails(code: str, message: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(cache, "CHILD", [sys.executable, "-c", code])
    monkeypatch.setattr(cache, "TIMEOUT_S", 1 if "sleep" in code else LONG)
    with pytest.raises(KnnscopeError, match=message):
        cache.obtain("cpu", 1)
    assert not list(home.glob("ceilings/*.json"))


def test_other_work_is_said(
    child: Measured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for load, said in ((0.0, False), (os.cpu_count() or 1, True)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        cache.obtain("cpu", 1, fresh=True)
        assert ("other work was running" in capsys.readouterr().err) is said


def test_the_process_prints_the_record(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "measure", lambda budget: replace(CPU, threads=budget))
    assert process.main(["cpu", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["threads"] == 5
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert process.main(["cuda"]) == 2
    assert "cuda13" in capsys.readouterr().err


def test_the_child_finds_the_package_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    with pytest.raises(KnnscopeError, match="list index out of range"):
        cache._measure("cuda-less", None)


def test_interrupted_it_leaves_no_child(
    tmp_path: Path, child_environment: dict[str, str], popen: Callable[..., Any]
) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys; from knnscope import cli; from knnscope.ceilings import cache\n"
        f"""cache.CHILD = [sys.executable, '-c', "import os, signal, time; signal.signal(2, signal.SIG_IGN);"""
        f""" open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"]\n"""
        "sys.argv = ['knnscope', 'info', '--measure']; sys.exit(cli.run())"
    )
    parent = popen([sys.executable, "-c", code], env=child_environment, stderr=subprocess.PIPE, text=True)
    until(lambda: note.exists() and bool(note.read_text()), "the child's number")
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=LONG)
    assert parent.returncode == 130
    assert "knnscope: interrupted" in said
    until(lambda: gone(int(note.read_text())), "the child's end")
