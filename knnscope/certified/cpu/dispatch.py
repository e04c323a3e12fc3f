"""Instruction sets: which this processor has, which is fastest, and how many queries their tiles take."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from knnscope.certified import forks
from knnscope.certified.components import Prices
from knnscope.certified.cpu import code_cache, products, stream
from knnscope.certified.cpu.plane import VNNI
from knnscope.certified.cpu.queries import Plan
from knnscope.certified.cpu.scan import SCANS
from knnscope.errors import KnnscopeError

_AVX2 = {"sse4.2", "avx", "avx2", "fma"}
_AVX512 = {*_AVX2, "f16c", "avx512f", "avx512bw"}
NEEDS = {
    "amx": {*_AVX512, "amx-tile", "amx-int8"},
    "vnni": {*_AVX512, "avx512vnni"},
    "avx2": _AVX2,
    "portable": set[str](),
}
"""Instructions, by LLVM's names, with all that these rest on; the fastest first."""
TILES = {"amx": products.AMX_TILES, "vnni": products.VNNI_TILES, "avx2": products.AVX2_TILES, "portable": (4,)}
TWO_DIGITS_UP_TO = {"amx": 0, "vnni": 6, "avx2": 2, "portable": 2}
"""Queries that are written with two digits: where codes are read faster than they are multiplied, the second one is free."""
PRICES = {
    "amx": VNNI._replace(isa="amx", shared=0.03), "vnni": VNNI, "avx2": Prices("avx2", 3.5, 0.5, 0.27, (7.0, 13.0, 10.0, 5.0)),
    "portable": Prices("portable", 20.0, 3.0, 3.0),
}  # fmt: skip
"""AVX2 has no product that adds up four bytes; of the plane's levels it multiplies twice as many at once as of bytes. What looking costs there is fitted
to a busy EPYC of Zen 3, so that nowhere the other path would have been much quicker (benchmarks/certified_paths.py); others' are reckoned."""
VNNI_UP_TO = 12
"""Queries for which AMX waits for its loads and VNNI does not."""


@cache
def instructions() -> frozenset[str]:
    """What the compiler may use: kept beside what it compiled, or as it says; see ``machine.instructions``."""
    try:
        kept = code_cache.read(code_cache.INSTRUCTIONS)
    except code_cache.UnusableError:
        kept = None
    if kept is not None:
        return frozenset(kept.decode().split())
    with forks.held_off():
        from knnscope.certified.cpu.compiler import machine  # takes 40 MB

        return machine.instructions()


@cache
def available() -> tuple[str, ...]:
    """Instruction sets that the compiler, this processor and the system have, fastest first."""
    found = [isa for isa, needs in NEEDS.items() if needs <= instructions()]
    return tuple(isa for isa in found if isa != "amx" or products.amx_permitted())


def choose(isa: str | None) -> str:
    """The instruction set asked for, or the fastest.

    Raises:
        KnnscopeError: this processor does not have it, or nothing may be compiled.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise KnnscopeError("NUMBA_DISABLE_JIT is set: certified search is compiled code, unset it")
    if isa is None:
        return available()[0]
    if isa not in available():
        raise KnnscopeError(f"isa {isa!r}: this processor has {', '.join(available())}")
    return isa


def plan(isa: str, queries: int) -> Plan:
    """The scan that suits so many queries."""
    if isa == "amx" and queries <= VNNI_UP_TO and "vnni" in available():
        isa = "vnni"
    if isa == "vnni":
        for width in stream.WIDTHS:
            if width >= queries * stream.DIGITS:
                return Plan("stream", width, stream.DIGITS)
    digits = 2 if queries <= TWO_DIGITS_UP_TO[isa] else 1
    widths, vectors = TILES[isa], queries * digits
    if isa == "vnni":
        return Plan(isa, min(widths, key=lambda width: (-(-vectors // width) * width, -width)), digits)
    return Plan(isa, next((width for width in widths if width >= vectors), widths[-1]), digits)


def narrow(queries: int) -> Plan:
    """The same with AVX2 for rows that lie in the caches: one digit, and no wider than it has to be."""
    return Plan("avx2", next((width for width in products.AVX2_TILES if width >= queries), products.AVX2_TILES[-1]), 1)


def room(isa: str) -> float:
    """The share of rows that the plane may leave: what looking at so many costs more than to ask the byte codes."""
    return min(1.0, PRICES[isa].codes / 2)


def scan(chosen: Plan) -> Any:
    """The compiled scan of a plan."""
    return stream.SCANS[chosen.width] if chosen.scan == "stream" else SCANS[chosen.scan]
