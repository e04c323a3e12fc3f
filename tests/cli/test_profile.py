"""Finding nsys, recording with it and exporting, with a program that stands in for it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

import pytest

from knnscope.api import recording
from knnscope.cli import profile as command
from knnscope.errors import KnnscopeError
from knnscope.profile import counts, in_process, nsys
from knnscope.trace import reader
from tests.cli.conftest import Run, refused
from tests.trace import fixtures

STAND_IN = """#!/bin/sh
# profile: runs the command and leaves a report; export: copies the trace that stands beside it
case $1 in
--version) echo "NVIDIA Nsight Systems version 2099.1.1" ;;
profile)
    [ -n "$SAW" ] && echo "$*" >"$SAW"
    while [ "$1" != -o ]; do shift; done
    base=$2; shift 2
    "$@"; code=$?
    echo "Processing 12 events: [1%    ]"
    [ -n "$ODD" ] && echo "$ODD"
    [ -n "$NO_REPORT" ] || echo report >"$base.nsys-rep"
    exit $code ;;
export)
    [ -n "$NO_EXPORT" ] && { echo "cannot export" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done
    cp "$TRACE" "$2" ;;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "nsys"
    path.parent.mkdir()
    path.write_text(STAND_IN)
    path.chmod(0o755)
    monkeypatch.setenv("TRACE", str(fixtures.unpacked("nsys-fused", tmp_path)))
    monkeypatch.delenv("NSYS", raising=False)
    monkeypatch.setattr(recording, "gpu_problem", lambda: None)
    return path


def test_which_nsys(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nsys, "USUAL", (str(tmp_path / "usual"),))
    monkeypatch.setenv("PATH", "/nowhere")
    assert nsys.find() is None
    for version in ("2023.4.4", "2025.1.3", "2024.6.2"):
        folder = tmp_path / "usual" / version / "target"
        folder.mkdir(parents=True)
        shutil.copy(program, folder / "nsys")
    assert nsys.find() == tmp_path / "usual" / "2025.1.3" / "target" / "nsys", "the newest"
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin:/bin")
    assert nsys.find() == program
    monkeypatch.setenv("NSYS", str(tmp_path / "usual" / "2024.6.2" / "target"))
    assert nsys.find() == tmp_path / "usual" / "2024.6.2" / "target" / "nsys", "a folder will do"
    assert nsys.find(str(program)) == program
    with pytest.raises(KnnscopeError, match="--nsys nowhere: no program there"):
        nsys.find("nowhere")


def test_a_command_is_recorded_and_exported(knnscope: Run, program: Path, tmp_path: Path) -> None:
    code, out, _ = knnscope("profile", "--nsys", program, "--out", tmp_path / "out", "--", "echo", "--hello")
    assert code == 0
    assert "36 kernels" in out
    assert "version 2099.1.1" in out
    (found,) = (tmp_path / "out").glob("*.sqlite")
    assert f"knnscope explain {found}" in out
    assert len(reader.read(found).kernels) == 36
    assert len(list((tmp_path / "out").glob("*.nsys-rep"))) == 1, "the report is kept"


def test_a_command_may_have_a_dot_in_its_name(knnscope: Run, program: Path, tmp_path: Path) -> None:
    (tmp_path / "python3.11").symlink_to("/bin/true")
    code, out, _ = knnscope("profile", "--nsys", program, "--out", tmp_path / "out", "--", tmp_path / "python3.11")
    assert code == 0
    assert "out/python3.11-" in out


def test_a_capture_range_is_left_to_the_program(
    knnscope: Run, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAW", str(tmp_path / "saw"))
    ask = ["profile", "--nsys", program, "--out", tmp_path / "out"]
    assert knnscope(*ask, "--", "true")[0] == 0
    assert "capture-range" not in (tmp_path / "saw").read_text()
    assert knnscope(*ask, "--capture-range", "--", "true")[0] == 0
    assert "--capture-range=cudaProfilerApi --capture-range-end=stop" in (tmp_path / "saw").read_text()
    monkeypatch.setenv("NO_REPORT", "1")
    refused(knnscope(*ask, "--capture-range", "--", "true"), "did the program call cudaProfilerStart")


def test_our_own_recorder_is_told_what_to_record(
    knnscope: Run, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without nsys the program runs inside ours; here a stand-in for it keeps what it was given."""
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\necho "parent:$KNNSCOPE_PARENT $*" >"$SAW"\n[ -n "$NO_REPORT" ] || cp "$TRACE" "$3"\n')
    python.chmod(0o755)
    monkeypatch.setenv("SAW", str(tmp_path / "saw"))
    monkeypatch.setattr(in_process.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(in_process, "_library", lambda: None)
    ask = ["profile", "--recorder", "cupti", "--out", tmp_path / "out"]
    for more, word in ([], "all"), (["--capture-range"], "range"):
        code, out, _ = knnscope(*ask, *more, "--", python, "a.py", "--b")
        assert code == 0
        assert "36 kernels" in out
        assert (tmp_path / "saw").read_text().split()[-3:] == [word, "a.py", "--b"]
        assert (tmp_path / "saw").read_text().startswith("parent: -m"), "a user's own command is the user's"
    monkeypatch.setattr(command.sys, "executable", str(python))
    assert knnscope(*ask, "gemm")[0] == 0
    assert (tmp_path / "saw").read_text().startswith(f"parent:{os.getpid()} -m"), "ours ends with us"
    monkeypatch.setenv("NO_REPORT", "1")
    refused(knnscope(*ask, "--capture-range", "--", python, "a.py"), "did it call cudaProfilerStart")


def test_a_rung_is_the_ladder_itself(tmp_path: Path) -> None:
    args = argparse.Namespace(name="cupy-loop", rest=None, rows=75_000, dim=384, k=10, repeat=3, every=250, out="o")
    argv, name = command._command(args)
    assert argv[1:5] == ["-m", "knnscope", "ladder", "synthetic:text,rows=75000,dim=384,queries=16"]
    assert argv[argv.index("--rungs") + 1] == "cupy-loop"
    assert argv[argv.index("--loop-rows") + 1] == "300"
    assert name == "cupy-loop-75000x384-k10"


def test_a_trace_that_is_there_stays(tmp_path: Path) -> None:
    """An earlier one of the same rung is what explain --against compares with."""
    args = argparse.Namespace(name="gemm", rest=None, rows=9, dim=2, k=1, repeat=3, every=1, out=str(tmp_path))
    (tmp_path / "gemm-9x2-k1.sqlite").write_text("a trace")
    (tmp_path / "gemm-ladder").mkdir()
    argv, name = command._command(args)
    assert re.fullmatch(r"gemm-9x2-k1-\d{8}-\d{6}", name)
    assert re.fullmatch(rf"{tmp_path}/gemm-ladder-\d{{8}}-\d{{6}}", argv[argv.index("--out") + 1])


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [("NO_REPORT", "1", "left no report"), ("NO_EXPORT", "1", "the export failed .cannot export.: the report is kept")],
)
def test_what_fails_is_one_line(
    knnscope: Run,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    refused(knnscope("profile", "--nsys", program, "--out", tmp_path / "out", "--", "true"), message)
    assert not list((tmp_path / "out").glob("*.sqlite"))
    assert not list((tmp_path / "out").glob("*.half"))


def test_an_nsys_that_lost_records_is_told_of(
    knnscope: Run, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD", "Throw in function GetAPICallbackName(bool, bool)")
    code, _, err = knnscope("profile", "--nsys", program, "--out", tmp_path / "out", "--", "false")
    assert code == 0
    assert "older than the driver's CUDA" in err
    assert "exit code 1" in err
    assert "Processing 12 events" not in err


def test_refusals(knnscope: Run, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no --out is given, a folder is made here
    refused(knnscope("profile"), "either the name of a rung or engine, or -- and a command")
    refused(knnscope("profile", "fused", "--", "true"), "either the name")
    refused(knnscope("profile", "fusd"), "did you mean fused")
    monkeypatch.setattr(recording.nsys, "find", lambda given: None)
    refused(knnscope("profile", "fused", "--recorder", "nsys"), "no nsys found")
    monkeypatch.setattr(in_process.importlib.util, "find_spec", lambda name: None)
    refused(knnscope("profile", "fused", "--out", tmp_path), "neither nsys nor cupti-python is here")
    monkeypatch.setattr(in_process.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(in_process, "_library", lambda: None)
    refused(knnscope("profile", "--out", tmp_path, "--", "./train"), "CUPTI records inside Python programs")
    monkeypatch.setattr(recording, "gpu_problem", lambda: "no NVIDIA driver here")
    refused(knnscope("profile", "fused"), "nothing to record: no NVIDIA driver here")


def test_nothing_is_counted_while_a_recorder_is_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in counts.PROFILERS:
        monkeypatch.delenv(name, raising=False)
    assert not counts.recorded()
    monkeypatch.setenv("KNNSCOPE_RECORDING", "x")
    assert counts.recorded()
    assert counts.count(lambda: 1 / 0, lambda: None) is None
