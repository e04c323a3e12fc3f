"""Each version of the search as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from knnscope.search import ladder
from knnscope.search.device import gpu_problem
from knnscope.search.ladder import __main__ as script

SMALL = ["--rows", "200", "--dim", "8", "-k", "5", "--repeat", "2", "--device", "cpu"]
ON_CPU = [name for name in ladder.RUNGS if not ladder.rung_class(name).gpu]


def nearest(text: str) -> str:
    return re.search(r"nearest rows (\[.*\])", text)[1]  # type: ignore[index]


def test_every_version_has_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for name in ON_CPU:
        assert script.main([name, *SMALL]) == 0
        said[name] = capsys.readouterr().out
        assert said[name].startswith(f"{name} on the CPU, 200 rows of 8: ")
    assert len({nearest(text) for text in said.values()}) == 1
    assert len(ON_CPU) >= 5


@pytest.mark.parametrize("name", [n for n in ladder.RUNGS if n not in ON_CPU])
def test_a_version_that_needs_a_gpu_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([name, *SMALL]) == 2
    assert f"{name} needs a GPU" in capsys.readouterr().err


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["argsort", *SMALL[:-1], "cuda"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_more_neighbors_than_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["argsort", "--rows", "3", "--dim", "4", "-k", "4", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("wrong", [["nothing"], ["argsort", "--rows", "0"], ["argsort", "-k", "x"]])
def test_a_wrong_argument_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(wrong)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_it_runs_as_a_program() -> None:
    argv = [sys.executable, "-m", "knnscope.search.ladder", "verbose"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "The answer: rows 1, 2, 0" in done.stdout
