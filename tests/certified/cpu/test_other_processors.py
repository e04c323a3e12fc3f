"""What this processor may not run is compiled for one that does: the instructions are there, and nothing is left that LLVM cannot select."""

from __future__ import annotations

import re
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from knnscope.certified.cpu import (
    dispatch,
    graph_kernels,
    lines,
    plane,
    plane_kernels,
    plane_queries,
    plane_search,
    quantise,
)
from knnscope.certified.cpu.compiler import kinds, machine
from knnscope.certified.cpu.compiler.unit import Unit
from knnscope.certified.cpu.jit import Compiled, specialised
from knnscope.certified.cpu.queries import EncodedQueries

ROWS, GROUPS = 32, 8
PROCESSORS = {"vnni": "cascadelake", "avx2": "haswell", "portable": "nehalem"}
PRODUCTS = {"vnni": "vpdpbusd", "avx2": "vpmaddubsw"}


def assembly(function: Compiled, given: list[Any], isa: str) -> str:
    """A function's instructions for the oldest processor that has them."""
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("LLVM was started for another kind of processor")
    unit = Unit("tried", lambda *_: pytest.fail("nothing is apart"))
    unit.body(function, [kinds.kind_of(one) for one in given])
    machine._target()  # starts LLVM
    target = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=PROCESSORS[isa], features="", opt=3, reloc="pic"
    )
    module = machine.optimised(unit.module, target, unit.unrolled)
    return str(target.emit_assembly(module))


def tiles(isa: str) -> list[tuple[int, int]]:
    return sorted({plane_search.width(isa, queries) for queries in range(1, 40)})


@pytest.mark.parametrize("isa", PROCESSORS)
def test_kernels_of_the_plane(isa: str) -> None:
    blocks = quantise.aligned((2, 64 * GROUPS + plane.SIDES), np.uint8, plane.BEYOND)
    for vectors, digits in tiles(isa):
        each = vectors // digits
        given = [
            blocks, 0, 2, np.zeros((GROUPS, vectors, 2), np.int32), np.zeros((3, vectors), np.int32),
            np.zeros((each, 3), np.float32),
            plane_kernels.Bounds(np.zeros((each, ROWS), np.float32), np.zeros((each, 2), np.float32)),
        ]  # fmt: skip
        text = assembly(plane_kernels.kernel(isa, vectors, digits), given, isa)
        if isa in PRODUCTS:
            loop = text.count(PRODUCTS[isa])
            assert loop >= 2 * vectors
        if isa == "vnni":
            assert "zmm" in text
            spilt = len(re.findall(r"vmov\w+\s+%zmm\d+, -?\d*\(%rsp\)", text))
            assert spilt <= 2, "sums stay in registers"


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_pairs_of_a_graph(isa: str) -> None:
    blocks = quantise.aligned((2, 64 * GROUPS + plane.SIDES), np.uint8, plane.BEYOND)
    vectors, digits = plane_search.MANY[isa]
    asked: plane_queries.PlaneQueries = plane_queries.blank.py_func(vectors, 8 * GROUPS, vectors, digits)
    masks = np.zeros((vectors, 4), dtype=np.int16)
    given = [blocks, (0, 2, 0), asked, asked.terms, np.zeros(ROWS, np.float32), masks]
    text = assembly(graph_kernels.tester(isa), given, isa)
    loop = text[text.index(PRODUCTS[isa]) : text.rindex(PRODUCTS[isa])]
    # 16 rows are two registers, each with two halves of its bytes
    assert loop.count(PRODUCTS[isa]) + 1 >= (4 if isa == "avx2" else 2) * vectors
    assert len(re.findall(r"vmov\w+\s+%[yz]mm\d+, -?\d*\(%rsp\)", loop)) <= 2, "sums stay in registers"


@pytest.mark.parametrize("isa", PROCESSORS)
def test_bounds_of_lines(isa: str) -> None:
    width = lines.STEP
    asked = EncodedQueries(
        np.zeros((1, width), np.int16), np.zeros(2, np.int32), np.zeros(1, np.float32), *(np.zeros(1) for _ in range(5)), np.zeros(1, np.bool_)
    )  # fmt: skip
    given = [np.zeros((ROWS, lines.HEAD + width), np.int8), np.zeros(4, np.int64), 4, asked, 0, np.zeros((5, 4))]
    text = assembly(lines.evaluation(isa), given, isa)
    if isa != "portable":
        assert "vpmaddwd" in text
        assert ("zmm" in text) == (isa == "vnni")


@pytest.mark.parametrize("dim", [3 * lines.STEP, lines.MOST_DIM])
def test_any_width_of_a_dot_product_gives_the_same_whole_numbers(dim: int) -> None:
    """That of AVX-512 is the one of AVX2, twice as wide: here one half as wide, which every x86-64 has, and those of this processor."""
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (5, lines.HEAD + dim)).astype(np.int8)
    wide = random.integers(-32258, 32259, (1, dim)).astype(np.int16)
    codes[3:], wide[0, : dim if dim == lines.MOST_DIM else 0] = [[127], [-127]], 32258  # the ends of the range
    codes.view(np.float32)[:, :3] = [1, 0, 0]
    asked = EncodedQueries(
        wide, np.zeros(2, np.int32), np.full(1, 2, np.float32), *(np.zeros(1) for _ in range(5)), np.zeros(1, np.bool_)
    )
    one, some = lines._dot(8, "llvm.x86.sse2.pmadd.wd")
    narrow = specialised(lines._evaluate, "lines_sse2", dot=one, dot_four=some)
    for evaluate in (narrow, *(lines.evaluation(isa) for isa in dispatch.available() if isa != "amx")):
        found = np.zeros((5, 5))
        evaluate(codes, np.arange(5), 5, asked, 0, found)
        np.testing.assert_array_equal(found[2], codes[:, lines.HEAD :].astype(np.int64) @ wide[0].astype(np.int64))
