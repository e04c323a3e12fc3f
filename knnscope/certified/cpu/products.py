"""Whole-number products of 32 rows with a tile of queries: the inner loop of the scan, once for each instruction set.

Rows: two blocks of 16 (see quantise.py). Queries: int8 digits, packed as the scan reads them. Results: int32, (vectors, 32). All give
the same whole numbers, so nothing else in the search depends on the instruction set.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions

VNNI_TILES = (8, 10, 12)
"""Query vectors of a tile (few queries: see stream.py): 12 x 2 sums, 2 registers of codes and 1 of queries fill 27 of 32 registers. The other
widths are for batches that leave less of them empty: what is empty is multiplied all the same."""
AVX2_TILES = (1, 2, 4)
AMX_TILES = (16, 32)
AHEAD = 128 * 2
"""Bytes a group that are asked for ahead: two panels on, past which the hardware's own prefetching does not look."""


def _vnni(count: int) -> Any:
    @instructions
    def vnni(emit: Emit, codes: Any, groups: Any, queries: Any, biases: Any, out: Any) -> None:
        """vpdpbusd: codes made unsigned times signed digits, four at once; 128 times the digits is taken off to begin with."""
        b = emit.builder
        operand = T.OPERAND
        flip = ir.Constant(T.BYTES, [-128] * 64)

        def group(index: Any, sums: list[Any]) -> list[Any]:
            rows = []
            for block in range(2):
                at = emit.at(codes, (b.add(index, b.mul(groups, emit.number(block))), 64))
                emit.prefetch(emit.at(at, (groups, AHEAD)))
                rows.append(b.bitcast(b.xor(emit.load(T.BYTES, at), flip), operand))
            grown = []
            for query in range(count):
                digits = emit.load(T.I32, emit.at(queries, (index, 4 * count), (query, 4)))
                spread = b.bitcast(emit.spread(digits, T.WORDS), operand)
                grown += [
                    emit.call("llvm.x86.avx512.vpdpbusd.512", T.WORDS, sums[2 * query + block], rows[block], spread)
                    for block in range(2)
                ]
            return grown

        begin = [emit.spread(emit.load(T.I32, emit.at(biases, (query, 4))), T.WORDS) for query in range(count)]
        sums = emit.loop(groups, [one for one in begin for _ in range(2)], group)
        for place, one in enumerate(sums):
            emit.store(one, emit.at(out, (place, 64)))

    return vnni


_vnni_8, _vnni_10, _vnni_12 = (_vnni(count) for count in VNNI_TILES)


def _avx2(count: int) -> Any:
    @instructions
    def avx2(emit: Emit, codes: Any, groups: Any, queries: Any, out: Any) -> None:
        """vpmaddwd: 8 rows and some queries at a time, digits of 16 bits; each row's sum comes in two halves."""
        b = emit.builder
        bytes_, wide = ir.VectorType(T.I8, 32), ir.VectorType(T.I16, 32)
        halves, sums8 = ir.VectorType(T.I16, 16), ir.VectorType(T.I32, 8)
        choose = [ir.Constant(ir.VectorType(T.I32, 16), list(range(first, first + 16))) for first in (0, 16)]
        even, odd = (ir.Constant(ir.VectorType(T.I32, 8), list(range(first, 16, 2))) for first in (0, 1))
        for eight in range(4):
            start = emit.at(codes, (b.mul(groups, emit.number(eight // 2)), 64), (eight % 2, 32))

            def group(index: Any, sums: list[Any], start: Any = start) -> list[Any]:
                rows = b.sext(emit.load(bytes_, emit.at(start, (index, 64))), wide)
                parts = [b.shuffle_vector(rows, ir.Constant(wide, ir.Undefined), c) for c in choose]
                grown = []
                for query in range(count):
                    digits = emit.load(T.I64, emit.at(queries, (index, 8 * count), (query, 8)))
                    spread = b.bitcast(emit.spread(digits, ir.VectorType(T.I64, 4)), halves)
                    for half, part in enumerate(parts):
                        product = emit.call("llvm.x86.avx2.pmadd.wd", sums8, part, spread)
                        grown.append(b.add(sums[2 * query + half], product))
                return grown

            sums = emit.loop(groups, [ir.Constant(sums8, [0] * 8)] * (2 * count), group)
            for query in range(count):
                low, high = sums[2 * query : 2 * query + 2]
                total = b.add(b.shuffle_vector(low, high, even), b.shuffle_vector(low, high, odd))
                emit.store(total, emit.at(out, (query, 128), (eight, 32)))

    return avx2


_avx2_1, _avx2_2, _avx2_4 = (_avx2(count) for count in AVX2_TILES)


def _amx(tiles: int) -> Any:
    @instructions
    def amx(emit: Emit, codes: Any, sizes: Any, queries: Any, soon: Any, out: Any) -> None:
        """tdpbssd: 16 or 32 query vectors times 32 rows, 64 components a step; sums stay in tile registers."""

        def tile(name: str, *args: Any) -> None:
            emit.call(f"llvm.x86.{name}", ir.VOID, *args)

        def place(number: int) -> Any:
            return ir.Constant(T.I8, number)

        b, line = emit.builder, emit.number(64)
        (groups, steps), (first, lines) = sizes, soon
        for number in range(2 * tiles):
            tile("tilezero", place(number))

        def step(index: Any, _: list[Any]) -> list[Any]:
            for block in range(2):
                at = emit.at(codes, (index, 1024), (b.mul(groups, emit.number(block)), 64))
                then = emit.at(at, (groups, AHEAD), (first, 64))

                def ahead(line: Any, _: list[Any], then: Any = then) -> list[Any]:
                    emit.prefetch(emit.at(then, (line, 64)))
                    return []

                emit.loop(lines, [], ahead)
                tile("tileloadd64", place(6 + block), emit.pointer(at), line)
            for half in range(tiles):
                at = emit.at(queries, (index, 1024 * tiles), (half, 1024))
                tile("tileloadd64", place(4 + half), emit.pointer(at), line)
                for block in range(2):
                    tile("tdpbssd", place(2 * half + block), place(4 + half), place(6 + block))
            return []

        emit.loop(steps, [], step)
        for half in range(tiles):
            for block in range(2):
                at = emit.pointer(emit.at(out, (half, 2048), (block, 64)))
                tile("tilestored64", place(2 * half + block), at, emit.number(128))

    return amx


_amx_16, _amx_32 = _amx(1), _amx(2)


@instructions
def _configure(emit: Emit, at: Any) -> None:
    emit.call("llvm.x86.ldtilecfg", ir.VOID, emit.pointer(at))


@instructions
def _release(emit: Emit, _: Any) -> None:
    """Tiles given back: a thread that holds them is switched more slowly."""
    emit.call("llvm.x86.tilerelease", ir.VOID)


@compiled(apart=True, unrolled=True)
def vnni(count: int, codes: Any, block: int, queries: Any, tile: int, soon: Any, out: Any) -> None:
    """Products of blocks ``block`` and ``block + 1`` with AVX-512 VNNI.

    Args:
        count: query vectors in the tile, one of those of ``TILES``.
        codes: see quantise.Coded.
        block: the first of two.
        queries: packed query vectors, see ``pack``, and int32, (tiles, count): -128 times the sum of each vector.
        tile: of them.
        soon: of 16 lines of codes that follow, the first to ask for, and how many: each tile of queries asks for its share, so that they
            arrive while all compute.
        out: int32, (count, 32), written.
    """
    groups = codes.shape[1]
    at = codes.ctypes.data + block * groups * 64
    digits = queries[0].ctypes.data + tile * groups * count * 4
    bias = queries[1].ctypes.data + tile * count * 4
    if count == 8:
        _vnni_8(at, groups, digits, bias, out.ctypes.data)
    elif count == 10:
        _vnni_10(at, groups, digits, bias, out.ctypes.data)
    else:
        _vnni_12(at, groups, digits, bias, out.ctypes.data)


@compiled(apart=True, unrolled=True)
def avx2(count: int, codes: Any, block: int, queries: Any, tile: int, soon: Any, out: Any) -> None:
    """As ``vnni``, with AVX2."""
    groups = codes.shape[1]
    digits = queries[0].ctypes.data + tile * groups * count * 8
    at = codes.ctypes.data + block * groups * 64
    if count == 1:
        _avx2_1(at, groups, digits, out.ctypes.data)
    elif count == 2:
        _avx2_2(at, groups, digits, out.ctypes.data)
    else:
        _avx2_4(at, groups, digits, out.ctypes.data)


@compiled(unrolled=True)
def amx(count: int, codes: Any, block: int, queries: Any, tile: int, soon: Any, out: Any) -> None:
    """As ``vnni``, with AMX tiles; between ``begin_amx`` and ``end_amx``."""
    groups = codes.shape[1]
    at = codes.ctypes.data + block * groups * 64
    steps = (groups + 15) // 16
    digits = queries[0].ctypes.data + tile * steps * count * 64
    if count == 16:
        _amx_16(at, (groups, steps), digits, soon, out.ctypes.data)
    else:
        _amx_32(at, (groups, steps), digits, soon, out.ctypes.data)


@compiled()
def begin_amx() -> None:
    """All eight tiles are 16 lines of 64 bytes."""
    shape = np.zeros(64, dtype=np.uint8)
    shape[0] = 1
    for tile in range(8):
        shape[16 + 2 * tile] = 64
        shape[48 + tile] = 16
    _configure(shape.ctypes.data)


@compiled()
def end_amx() -> None:
    """See ``_release``."""
    _release(0)


@compiled(apart=True, unrolled=True)
def portable(count: int, codes: Any, block: int, queries: Any, tile: int, soon: Any, out: Any) -> None:
    """As ``vnni``, in plain loops."""
    packed, groups = queries[0], codes.shape[1]
    for query in range(count):
        for half in range(2):
            for row in range(16):
                out[query, half * 16 + row] = 0
            for group in range(groups):
                for row in range(16):
                    total = out[query, half * 16 + row]
                    for j in range(4):
                        total += np.int32(codes[block + half, group, row, j]) * np.int32(packed[tile, group, query, j])
                    out[query, half * 16 + row] = total


@compiled()
def nothing() -> None:
    """Nothing to begin or end."""


def amx_permitted() -> bool:
    """Ask Linux for the use of tiles, once for a process and its threads."""
    arch_prctl, request, tile_data = 158, 0x1023, 18
    try:
        return int(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data)) == 0
    except (OSError, AttributeError):
        return False


def packed_shape(groups: int, scan: str, count: int) -> tuple[tuple[int, int, int], type]:
    """How a scan reads a tile of query vectors, and the type of their digits: some components of each vector, then of the next.

    Args:
        groups: of four components.
        scan: its name.
        count: vectors of a tile.
    """
    if scan == "amx":
        return (-(-4 * groups // 64), count, 64), np.int8
    return (groups, count, 4), np.int16 if scan == "avx2" else np.int8
