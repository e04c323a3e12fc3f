"""The measuring of the GPU: its source compiles anywhere (tests/gpu runs it)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from knnscope.ceilings import kernels


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here")
def test_the_source_compiles_with_nvcc(tmp_path: Path) -> None:
    source = tmp_path / "kernels.cu"
    source.write_text(kernels.SOURCE)
    command = [
        "nvcc",
        "-arch=sm_90",
        "-cubin",
        "-Werror",
        "all-warnings",
        "-Xptxas",
        "-v",
        "-o",
        tmp_path / "cubin",
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " 0 bytes spill" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="no CuPy here")
def test_the_source_compiles_with_nvrtc() -> None:
    nvrtc = pytest.importorskip("cupy").cuda.nvrtc
    program = nvrtc.createProgram(kernels.SOURCE, "kernels.cu", (), ())
    nvrtc.compileProgram(program, ("-arch=sm_90",))
    assert nvrtc.getCUBIN(program)
