"""Compiled code on disk is of this version and this processor, whole and the user's own, or it is not used."""

from __future__ import annotations

import linecache
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knnscope.certified.cpu import code_cache, dispatch, object_code, processor
from knnscope.certified.cpu.compiler import machine
from knnscope.certified.cpu.jit import compiled
from tests.processes import until

KILLS = int(os.environ.get("KNNSCOPE_KILLS", "40"))


def of_version(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(code_cache, "SOURCES", {"a.py": version.encode()} if version else {})
    code_cache.stamp.cache_clear()


def plus(number: int) -> object:
    """A function of one name, which another version of the package computes otherwise, as another process has it: nothing loaded."""
    object_code.loaded.clear()
    scope: dict[str, Any] = {"__name__": "tests.plus"}
    text, file = f"def plus(x):\n    return x + {number}\n", f"<plus {number}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), scope)
    return compiled()(scope["plus"])


def test_what_was_written_is_read_and_nothing_is_left_beside_it(folder: Path) -> None:
    assert code_cache.read("a") is None
    for body in (b"", b"x", os.urandom(300_000)):
        code_cache.write("a", body)
        assert code_cache.read("a") == body
    assert os.listdir(folder) == ["a"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "how", ["empty", "half", "garbage", "one bit", "longer", "folder", "fifo", "link", "huge", "closed"]
)
def test_a_file_that_is_not_what_was_written_is_not_there(folder: Path, tmp_path: Path, how: str) -> None:
    code_cache.write("a", b"body" * 100)
    file = folder / "a"
    data = file.read_bytes()
    if how in ("folder", "fifo", "link"):
        file.rename(tmp_path / "elsewhere")
        {
            "folder": file.mkdir,
            "fifo": lambda: os.mkfifo(file),
            "link": lambda: file.symlink_to(tmp_path / "elsewhere"),
        }[how]()
    elif how == "huge":
        os.truncate(file, code_cache.MOST_BYTES + 1)
    elif how == "closed":
        file.write_bytes(data[:-1])
        file.chmod(0)
    else:
        bit = bytes([data[-1] ^ 1])
        file.write_bytes(
            {
                "empty": b"",
                "half": data[: len(data) // 2],
                "garbage": os.urandom(3000),
                "one bit": data[:-1] + bit,
                "longer": data + b"x",
            }[how]
        )
    assert code_cache.read("a") is None
    if how != "folder":
        code_cache.write("a", b"new")
        assert code_cache.read("a") == b"new"


@pytest.mark.parametrize("how", ["group", "others", "link", "owner"])
def test_a_folder_that_is_not_the_users_own_is_refused_and_told_once(
    folder: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code_cache.write("a", b"body")
    if how == "link":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    elif how == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    else:
        folder.chmod(0o770 if how == "group" else 0o701)
    for number in (1, 2):
        assert plus(number)(1) == 1 + number  # type: ignore[operator]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "compiled code is not kept on disk" in said[0]
    assert sorted(os.listdir(folder)) == ["a"]


def test_the_next_process_finds_it_and_another_version_does_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_version(monkeypatch, "one")
    for found in (0, 1):
        function = plus(1)
        assert function(1) == 2  # type: ignore[operator]
        assert function.from_disk == found  # type: ignore[attr-defined]
    of_version(monkeypatch, "two")
    assert plus(10)(1) == 11  # type: ignore[operator]
    of_version(monkeypatch, "one")
    assert plus(1)(1) == 2  # type: ignore[operator]
    assert len(os.listdir(folder.parent)) == 2


def test_an_update_on_a_full_disk_never_runs_the_old_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numba's own cache did: it wrote its index before the code, under the old file's name."""
    of_version(monkeypatch, "old")
    assert plus(1)(1) == 2  # type: ignore[operator]
    of_version(monkeypatch, "new")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))  # what is written beyond fails, as on a full disk
    try:
        for _ in range(3):
            assert plus(10)(1) == 11  # type: ignore[operator]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "each process compiles anew" in capsys.readouterr().err
    for found in (0, 1):
        function = plus(10)
        assert function(1) == 11  # type: ignore[operator]
        assert function.from_disk == found  # type: ignore[attr-defined]
    assert not [name for name in os.listdir(code_cache.path()) if name.endswith(code_cache.PART)]


@pytest.mark.parametrize("how", ["a file in its place", "no sources"])
def test_where_nothing_can_be_kept_it_works_and_says_so_once(
    folder: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "no sources":
        of_version(monkeypatch, "")
    else:
        folder.parent.write_text("a file")
    for number in (1, 2, 3):
        assert plus(number)(1) == 1 + number  # type: ignore[operator]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_the_code_depends_on_is_in_the_stamp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [code_cache.stamp()]
    changes = (
        lambda: monkeypatch.setattr(code_cache, "SOURCES", {**code_cache.SOURCES, "new.py": b"#"}),
        lambda: monkeypatch.setattr(code_cache, "llvm_version", lambda: "0.1"),
        lambda: monkeypatch.setattr(code_cache.sys, "version", "3.99"),
        lambda: monkeypatch.setenv("NUMBA_OPT", "0"),
        lambda: monkeypatch.setattr(processor, "identity", lambda: "flags: avx2"),
        lambda: monkeypatch.setattr(processor, "identity", lambda: ""),
    )
    for change in changes:
        change()
        code_cache.stamp.cache_clear()
        stamps.append(code_cache.stamp())
    assert len(set(stamps)) == len(changes) + 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    code_cache.stamp.cache_clear()
    assert code_cache.stamp() == stamps[-1]


def test_what_the_compiler_may_use_is_kept_beside_what_it_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plus(1)(1) == 2  # type: ignore[operator]
    dispatch.instructions.cache_clear()
    assert frozenset((code_cache.read(code_cache.INSTRUCTIONS) or b"").decode().split()) == machine.instructions()
    code_cache.write(code_cache.INSTRUCTIONS, b"avx2 fma")
    assert dispatch.instructions() == {"avx2", "fma"}, "it is not asked for again"
    dispatch.instructions.cache_clear()


def test_a_processor_is_known_by_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for core, mhz, flags in ((0, 2000, "avx2"), (1, 2100, "avx2"), (0, 2000, "avx2 avx512f")):
        text = f"processor\t: {core}\nmodel name\t: X\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\nprocessor\t: 9\n"
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
        told.append(processor.identity())
    assert told[0] == told[1] != told[2]
    monkeypatch.setattr(processor, "INFO", tmp_path / "none")
    assert processor.identity() == ""


def test_old_folders_and_old_parts_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = folder.parent
    base.mkdir()
    for age in range(20):
        (base / f"{code_cache.PREFIX}{age}").mkdir()
        os.utime(base / f"{code_cache.PREFIX}{age}", (1e9 - age, 1e9 - age))
    (base / "of somebody else").mkdir()
    code_cache.write("a", b"body")
    assert len(os.listdir(base)) == code_cache.KEPT + 1
    assert (base / f"{code_cache.PREFIX}0").is_dir()
    for name, age in (("old", 2 * code_cache.ABANDONED), ("new", 0)):
        (folder / f".{name}{code_cache.PART}").touch()
        os.utime(folder / f".{name}{code_cache.PART}", (time.time() - age,) * 2)
    code_cache.write("b", b"body")
    assert sorted(os.listdir(folder)) == [f".new{code_cache.PART}", "a", "b"]


WRITERS = """
import os, sys
from knnscope.certified.cpu import code_cache
for _ in sys.stdin:
    for _ in range(2):
        number = os.fork()
        while not number:
            for name in "abc":
                code_cache.write(name, bytes([os.urandom(1)[0]]) * 200_000)
        print(number, flush=True)
    for _ in range(2):
        os.wait()
    print("gone", flush=True)
"""
"""For each line two processes that write without end, and a word when both are gone."""


def test_a_process_that_is_killed_leaves_whole_files(folder: Path, popen: Callable[..., subprocess.Popen[str]]) -> None:
    picks, whole = random.Random(0), 0
    maker = popen([sys.executable, "-c", WRITERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert maker.stdin is not None
    assert maker.stdout is not None
    for _ in range(KILLS):
        print(file=maker.stdin, flush=True)
        numbers = [int(maker.stdout.readline()) for _ in range(2)]
        until(lambda: (folder / "a").exists(), "a first file")
        time.sleep(picks.uniform(0, 0.02))
        for number in numbers:
            os.kill(number, signal.SIGKILL)
        assert maker.stdout.readline() == "gone\n"
        for name in "abc":
            if (folder / name).exists():
                body = code_cache.read(name)
                assert body is not None
                assert body == body[:1] * 200_000
                whole += 1
    maker.communicate()
    assert whole


def of_environment(**steering: str) -> list[str]:
    code = (
        "from knnscope.certified.cpu import dispatch\nfrom knnscope.errors import KnnscopeError\n"
        "try: print(dispatch.choose(None), *dispatch.available())\nexcept KnnscopeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **steering}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("steering", "without"),
    [
        ({"NUMBA_CPU_NAME": "generic"}, {"amx", "vnni", "avx2"}),
        ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"}, {"amx", "vnni"}),
        ({"NUMBA_CPU_FEATURES": "-avx512f"}, {"amx", "vnni"}),
        ({"NUMBA_CPU_FEATURES": "-avx512vnni,-amx-int8"}, {"amx", "vnni"}),
        ({"NUMBA_CPU_FEATURES": "-fma"}, {"amx", "vnni", "avx2"}),
        ({"NUMBA_ENABLE_AVX": "0"}, {"amx", "vnni", "avx2"}),
    ],
)
def test_what_the_compiler_may_use_decides(steering: dict[str, str], without: set[str]) -> None:
    found = of_environment(**steering)[1:]
    assert found == [isa for isa in dispatch.available() if isa not in without]


def test_without_a_compiler_there_is_one_line() -> None:
    assert " ".join(of_environment(NUMBA_DISABLE_JIT="1")).startswith("NUMBA_DISABLE_JIT is set: certified search is")
