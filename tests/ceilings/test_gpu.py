"""The measuring of the GPU: its source compiles anywhere; on a GPU every byte is read and figures are plausible."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from knnscope.ceilings import cache, kernels

on_a_gpu = pytest.mark.skipif(
    shutil.which("nvidia-smi") is None or importlib.util.find_spec("cupy") is None,
    reason="no NVIDIA GPU with CuPy here",
)


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


@pytest.mark.gpu
@on_a_gpu
def test_every_byte_is_read() -> None:
    from knnscope.ceilings import gpu

    device = gpu.Gpu(7, 1 << 20)
    for tiles, blocks in ((1, 8), (3, 1), (1000, 16)):
        data = gpu.random_words(tiles * kernels.TILE)
        device.total.fill(0)
        device.read(data, blocks)
        assert int(device.total[0]) == 0
        device.read(data, blocks, keep=True)
        assert int(device.total[0]) == int(np.add.reduce(data.get()))


@pytest.mark.gpu
@on_a_gpu
def test_figures_are_plausible() -> None:
    found = cache.obtain("cuda")
    for rate in found.read:
        assert 1e9 < rate.cold < 1e14
        assert 0.3 * rate.cold < rate.hot
    assert found.read[-1].hot > found.read[0].cold
    assert found.copy > 1e10
    assert {"float64", "float32", "float16"} <= found.products.keys()
    for transfer in (found.host_to_device, found.device_to_host):
        assert transfer is not None
        assert transfer.pinned > 1e9
