"""Every kernel compiles, without a warning, for every architecture, where there is no GPU."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knnscope.ceilings import kernels as ceilings
from knnscope.kernels import sources
from tests.kernels.nvrtc import compiled


@pytest.mark.parametrize("capability", sources.ARCHITECTURES)
def test_every_source_compiles(capability: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        binaries = list(pool.map(lambda s: compiled(s.code, s.options, capability), sources.all_sources()))
    for binary in binaries:
        assert binary.startswith(b"\x7fELF")
        for name in (b"nearest_few", b"nearest_many", b"select_nearest", b"all_keys"):
            assert name in binary


@pytest.mark.parametrize("capability", sources.ARCHITECTURES)
def test_the_kernels_that_measure_compile(capability: int) -> None:
    assert compiled(ceilings.SOURCE, (sources.STANDARD,), capability).startswith(b"\x7fELF")


def test_what_does_not_compile_is_told() -> None:
    with pytest.raises(ValueError, match=r"(?s)sm_90 .*errors detected"):
        compiled('extern "C" __global__ void broken( {', (sources.STANDARD,), 90)


def test_every_cuda_file_is_among_the_sources() -> None:
    known = {source.file for source in sources.all_sources()}
    assert {path.name for path in Path(sources.__file__).parent.glob("*.cu")} == known


def test_no_source_includes_anything() -> None:
    for source in sources.all_sources():
        assert not re.search(r"^\s*#\s*include", source.code, re.M), "NVRTC may have no headers beside it"


def test_pools_fit_the_smallest_shared_memory() -> None:
    text = (Path(sources.__file__).parent / "fused_topk.py").read_text("utf-8")
    most = int(re.search(r"^MOST = (\d+)", text, re.M)[1])  # the module itself needs CuPy
    assert 8 * (1 << (2 * most - 1).bit_length()) <= 48 << 10, "more has to be asked for by an attribute"
