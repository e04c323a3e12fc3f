"""knnscope info --measure."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from knnscope import environment, threads
from knnscope.api import machine
from knnscope.ceilings import cache
from knnscope.ceilings.record import Ceilings
from knnscope.search import catalog
from tests.ceilings.conftest import Measured
from tests.ceilings.conftest import child as child
from tests.cli.conftest import Run, refused


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, as nvidia-smi tells of it, and CuPy."""
    facts = {**dict.fromkeys(environment.GPU_FIELDS), "name": "some GPU", "driver": "580"}
    monkeypatch.setattr(environment, "gpus", lambda: [facts])
    monkeypatch.setattr(machine, "require", lambda *_: None)


@pytest.mark.usefixtures("gpu")
def test_in_words(knnscope: Run, child: Measured) -> None:
    assert "At best" not in knnscope("info")[1]
    code, out, err = knnscope("info", "--measure")
    assert code == 0
    assert re.search(r"^At best, some processor, 2 threads$", out, re.M)
    assert re.search(r"^  reads +hot GB/s  cold GB/s$", out, re.M)
    assert re.search(r"^  64 KiB +100\.0 +20\.0$", out, re.M)
    assert "copies 25.0 GB/s (read plus written)" in out
    assert "products in Gop/s: float64 80, float32 160" in out
    assert re.search(r"^At best, some GPU$", out, re.M)
    assert "device to host 8.0 GB/s, from or to pinned memory 52.0" in out
    assert "float16 700,000, int8 1,300,000" in out
    assert "measuring what the GPU can do" in err
    assert child() == [f"cpu {threads.usable()} {threads.usable()}", "cuda -"]
    _, out, _ = knnscope("info")
    assert "some processor, 2 threads: reads 100.0 GB/s (64 KiB, hot) to 16.0 (1.0 GiB, cold)" in out
    assert "some GPU: reads 400.0 GB/s" in out
    assert len(child()) == 2


def test_in_json(knnscope: Run, child: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpus", list)
    assert json.loads(knnscope("info", "--json")[1])["ceilings"] == {"cpu": None, "cuda": None}
    code, out, err = knnscope("info", "--measure", "--threads", 1, "--json")
    assert code == 0
    assert "note: the GPU was not measured: none seen" in err
    ceilings = json.loads(out)["ceilings"]
    assert Ceilings.from_json(ceilings["cpu"]) == cache.cached("cpu", 1)
    assert ceilings["cuda"] is None
    assert json.loads(knnscope("info", "--json", "--threads", 1)[1])["ceilings"] == ceilings
    assert child() == ["cpu 1 1"]


def test_what_is_missing_is_said(knnscope: Run, child: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpus", lambda: [dict.fromkeys(environment.GPU_FIELDS, 1)])
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, _, err = knnscope("info", "--measure")
    assert code == 0
    assert re.search(r"note: the GPU was not measured: cupy .*\[cuda13\]", err)
    refused(knnscope("info", "--measure", "--threads", threads.usable() + 1), "this process may use")
    refused(knnscope("info", "--threads", "0"), "not a whole number above 0")


def test_info_in_words_and_json(knnscope: Run) -> None:
    code, out, _ = knnscope("info")
    assert code == 0
    assert all(name in out for name in catalog.ENGINES)
    code, out, _ = knnscope("info", "--json")
    facts = json.loads(out)
    assert facts["cpu"]["usable_cores"] == len(os.sched_getaffinity(0))
    assert facts["memory"]["total"] > 1 << 28
    assert facts["engines"]["numpy64"]["available"] is True
    assert facts["libraries"]["numpy"] == np.__version__


def test_info_names_missing_engines_clashes_and_what_hides(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delitem(sys.modules, "knnscope.search.engines.faiss", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    real = environment.libraries()
    monkeypatch.setattr(environment, "libraries", lambda: {**real, "onnxruntime-gpu": "1.0", "faiss-gpu-cuvs": "1.0"})
    _, out, _ = knnscope("info")
    assert re.search(r"faiss +missing +.*pip install -e .*\[cpu\]", out)
    assert "onnxruntime and onnxruntime-gpu are installed together" in out
    assert re.search(r"^  sklearn +installed ", out, re.M)
    assert "  installed: its library is there, and was not loaded to see whether it works, which takes long" in out
    assert "faiss-cpu and faiss-gpu-cuvs are installed together" in out
    assert "hides every GPU" in out
    assert "OMP_NUM_THREADS=1" in out


def test_gpu_lines_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knnscope: Run) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA H200, 580.159.04, 143771, 143000, 9.0, 345, 1980, 3201, 3201, 700.00, 30'\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (gpu,) = environment.gpus()
    assert gpu["name"] == "NVIDIA H200"
    assert gpu["driver"] == "580.159.04"
    assert (gpu["memory_mib"], gpu["compute_capability"], gpu["max_sm_clock_mhz"]) == (143771, 9.0, 1980)
    _, out, _ = knnscope("info")
    assert "NVIDIA H200, compute capability 9.0, 140 GiB" in out
    assert "this onnxruntime is the CPU build" in out
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA GB10, 580.1, [N/A], [N/A], 12.1, 345, 1980, [Not Supported], [N/A], [N/A], 30'\necho 'No devices'\n"
    )
    code, out, _ = knnscope("info")
    assert code == 0
    assert "NVIDIA GB10, compute capability 12.1, unknown" in out
