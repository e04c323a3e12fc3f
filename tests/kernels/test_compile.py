"""Every kernel compiles, without a warning, for every architecture, where there is no GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from knnscope import certified
from knnscope.ceilings import kernels as ceilings
from knnscope.kernels import sources
from knnscope.search import ladder
from tests.kernels.nvrtc import compiled

SOURCES = [source for source in sources.all_sources() if source.file not in sources.OWN_TARGETS]
OF_ONE_TARGET = [source for source in sources.all_sources() if source.file in sources.OWN_TARGETS]
ASKED = {
    tuple(re.findall(r"__CUDA_ARCH__ (==|>=) (\d+)", line))
    for path in Path(sources.__file__).parent.glob("*.cu*")
    for line in path.read_text("utf-8").splitlines()
    if "__CUDA_ARCH__" in line
}
"""What the sources ask of an architecture, line by line; one of what a line names suffices."""


def taken(capability: int) -> tuple[bool, ...]:
    """Which of their branches an architecture takes."""
    mine = 10 * capability
    return tuple(any(mine == int(n) or (how == ">=" and mine > int(n)) for how, n in line) for line in sorted(ASKED))


UNLIKE = [
    one for one in sources.ARCHITECTURES if taken(one) not in map(taken, [c for c in sources.ARCHITECTURES if c < one])
]
"""Of those that take the same branches, so that they compile the same code, the oldest: what it has all later ones have. ``--slow`` has all."""
OLDEST, *NEWER = UNLIKE
FAST = "--Ofast-compile=max"
"""A fourth of the time: all that CUDA C++ or an architecture refuses is refused, little is optimised."""


def of_each_file() -> list[list[sources.Source]]:
    """Files, each with all of its macros."""
    found: dict[str, list[sources.Source]] = {}
    for source in SOURCES:
        found.setdefault(source.file, []).append(source)
    return list(found.values())


def as_used(file: int) -> int:
    """For which architecture a file is optimised as for users; it is for one, and for the others compiled ``FAST``."""
    return UNLIKE[file % len(UNLIKE)]


def shares(capability: int) -> list[tuple[sources.Source, bool]]:
    """Every file with a share of its macros, at least one: for all newer architectures together, all of them.

    Second is whether it is optimised as for users: one of a file's macros is, where the file is.
    """
    number = NEWER.index(capability)
    return [
        (source, as_used(file) == capability and place == 0)
        for file, those in enumerate(of_each_file())
        for place, source in enumerate(those[number :: len(NEWER)] or [those[number % len(those)]])
    ]


def compiles(chosen: Sequence[sources.Source], capability: int | str, *more: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        binaries = list(pool.map(lambda s: compiled(s.code, (*s.options, *more), capability), chosen))
    for source, binary in zip(chosen, binaries, strict=True):
        assert binary.startswith(b"\x7fELF")
        assert source.kernels
        assert all(name.encode() in binary for name in source.kernels)


def test_every_file_compiles_for_the_oldest() -> None:
    """What it lacks has code of its own; ``--slow`` compiles every source for every architecture, as for users."""
    last = [those[-1] for those in of_each_file()]
    compiles([source for file, source in enumerate(last) if as_used(file) == OLDEST], OLDEST)
    compiles([source for file, source in enumerate(last) if as_used(file) != OLDEST], OLDEST, FAST)


@pytest.mark.parametrize("capability", NEWER)
def test_every_file_compiles_for_a_newer_one(capability: int) -> None:
    share = shares(capability)
    assert {source.file for source, _ in share} == {source.file for source in SOURCES}
    compiles([source for source, optimised in share if optimised], capability)
    compiles([source for source, optimised in share if not optimised], capability, FAST)


def test_what_the_sources_ask_of_an_architecture_is_understood() -> None:
    """One comparison, or one of several: else code that an architecture alone has would be compiled for none."""
    assert all(ASKED)
    for path in Path(sources.__file__).parent.glob("*.cu*"):
        for line in re.findall(r"^.*__CUDA_ARCH__.*$", path.read_text("utf-8"), re.M):
            assert re.fullmatch(r"#if __CUDA_ARCH__ (==|>=) \d+( \|\| __CUDA_ARCH__ (==|>=) \d+)*", line), path.name
    assert len(set(map(taken, sources.ARCHITECTURES))) == len(UNLIKE)


def test_no_source_is_left_out_of_the_shares() -> None:
    share = [one for capability in NEWER for one in shares(capability)]
    assert {source for source, _ in share} == set(SOURCES)
    optimised = {source.file for source, optimised in share if optimised}
    of_the_oldest = {those[0].file for file, those in enumerate(of_each_file()) if as_used(file) == OLDEST}
    assert optimised | of_the_oldest == {source.file for source in SOURCES}


SIZES = {"FULL": 256, "WIDTH": 256, "AHEAD": 4}
"""Small ones: each slice of a row's components is a copy of the same code."""
NARROW = list(
    dict.fromkeys(
        replace(source, macros=tuple((name, SIZES.get(name, value)) for name, value in source.macros))
        for source in OF_ONE_TARGET
    )
)


@pytest.mark.parametrize(
    "chosen", [NARROW, pytest.param(OF_ONE_TARGET, marks=pytest.mark.slow)], ids=["narrow", "as they are"]
)
def test_what_only_one_architecture_has_compiles_for_it(chosen: Sequence[sources.Source]) -> None:
    """Optimised: only then is it told that products wait for each other."""
    compiles(chosen, "90a")


@pytest.mark.slow
@pytest.mark.parametrize("capability", sources.ARCHITECTURES)
def test_every_source_compiles_for_every_architecture(capability: int) -> None:
    compiles(SOURCES, capability)


@pytest.mark.parametrize("capability", sources.ARCHITECTURES)
def test_the_kernels_that_measure_compile(capability: int) -> None:
    assert compiled(ceilings.SOURCE, (sources.STANDARD,), capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("capability", sources.ARCHITECTURES)
def test_the_body_of_the_elementwise_rung_compiles(capability: int) -> None:
    """CuPy puts it into a loop over ``i``."""
    body = (Path(ladder.__file__).parent / "fused.cu").read_text("utf-8")
    kernel = f"""extern "C" __global__ void fused(const float* rows, const float* query, int dim, float* out, size_t count) {{
        for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {{
            float& distance = out[i];
            {body}
        }}
    }}"""
    assert compiled(kernel, (sources.STANDARD,), capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("more", [(), (FAST,)])
def test_what_does_not_compile_is_told(more: tuple[str, ...]) -> None:
    """Also a warning, and an instruction that an architecture lacks."""
    options, begin = (sources.STANDARD, *more), 'extern "C" __global__ void broken('
    with pytest.raises(ValueError, match=r"(?s)sm_90 .*errors detected"):
        compiled(begin + "{", options, 90)
    with pytest.raises(ValueError, match="declared but never referenced"):
        compiled(begin + ") { int unused; }", options, 90)
    copies = begin + ') { asm volatile("cp.async.wait_all;"); }'
    assert compiled(copies, options, 80)
    with pytest.raises(ValueError, match=r"cp\.async"):
        compiled(copies, options, 75)


def test_every_cuda_file_is_among_the_sources() -> None:
    known = {source.file for source in sources.all_sources()}
    assert {path.name for path in Path(sources.__file__).parent.glob("*.cu")} == known
    before = {name for source in sources.all_sources() for name in source.before}
    assert {path.name for path in Path(sources.__file__).parent.glob("*.cuh")} == before


def test_every_kernel_of_certified_search_is_asked_for_by_its_name() -> None:
    """What asks for them needs CuPy: a name that only a GPU would miss is missed here."""
    folder = Path(certified.__file__).parent / "cuda"
    asked = {name for path in folder.glob("*.py") for name in re.findall(r'"(\w+)"', path.read_text("utf-8"))}
    defined = {name for source in sources.all_sources() if source.file.startswith("exact_") for name in source.kernels}
    assert defined
    assert defined <= asked


def test_no_source_includes_anything() -> None:
    for source in sources.all_sources():
        assert not re.search(r"^\s*#\s*include", source.code, re.M), "NVRTC may have no headers beside it"


def test_pools_fit_the_smallest_shared_memory() -> None:
    text = (Path(sources.__file__).parent / "fused_topk.py").read_text("utf-8")
    most = int(re.search(r"^MOST = (\d+)", text, re.M)[1])  # the module itself needs CuPy
    assert 8 * (1 << (2 * most - 1).bit_length()) <= 48 << 10, "more has to be asked for by an attribute"
