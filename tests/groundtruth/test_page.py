"""The examples of docs/ground-truth.md run, in this order, and print what stands there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pages.blocks import blocks
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ground-truth.md").read_text("utf-8")
BLOCKS = [block.text for block in blocks(PAGE)][1:]
"""The first shows the commands only."""


@pytest.mark.usefixtures("encoded")
def test_the_examples_print_what_the_page_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    knnscope: Run,  # noqa: F811
) -> None:
    monkeypatch.chdir(tmp_path)
    out, commands = "", 0
    for line in (line for block in BLOCKS for line in block.splitlines()):
        if line.startswith("knnscope "):
            code, out, err = knnscope(*shlex.split(line)[1:])
            assert code == (1 if "theirs" in line else 0), err
            commands += 1
        elif line.startswith("python -c "):
            subprocess.run([sys.executable, *shlex.split(line)[1:]], check=True)
        else:
            assert line in out.splitlines(), (line, out)
    assert commands == 4
