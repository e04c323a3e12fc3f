"""Kinds of products: which this processor has, which is fastest, and how many queries their tiles take."""

from __future__ import annotations

from functools import cache
from typing import Any

from knnscope.certified import products, stream
from knnscope.certified.scan import SCANS
from knnscope.environment import cpu
from knnscope.errors import KnnscopeError

NEEDS = {
    "amx": {"amx_int8", "avx512f", "avx512bw"},
    "vnni": {"avx512f", "avx512bw", "avx512_vnni"},
    "avx2": {"avx2", "fma"},
    "portable": set[str](),
}
"""Flags of the processor, fastest kind first."""
TILES = {"amx": products.AMX_TILES, "vnni": products.VNNI_TILES, "avx2": products.AVX2_TILES, "portable": (4,)}
TWO_DIGITS_UP_TO = {"amx": 0, "vnni": 6, "avx2": 2, "portable": 2}
"""Queries that are written with two digits: where codes are read faster than they are multiplied, the second one is free."""
VNNI_UP_TO = 12
"""Queries for which AMX waits for its loads and VNNI does not."""


@cache
def available() -> tuple[str, ...]:
    """Kinds that this processor and system have, fastest first."""
    flags = set(cpu()["vector_instructions"])
    found = [kind for kind, needs in NEEDS.items() if needs <= flags]
    return tuple(kind for kind in found if kind != "amx" or products.amx_permitted())


def choose(kind: str | None) -> str:
    """The kind asked for, or the fastest.

    Raises:
        KnnscopeError: this processor does not have it.
    """
    if kind is None:
        return available()[0]
    if kind not in available():
        raise KnnscopeError(f"kind {kind!r}: this processor has {', '.join(available())}")
    return kind


def plan(kind: str, queries: int) -> tuple[str, int, int]:
    """The scan that suits so many queries (a key of ``SCANS``, or "stream"), query vectors in a tile, and digits of a query."""
    if kind == "amx" and queries <= VNNI_UP_TO and "vnni" in available():
        kind = "vnni"
    if kind == "vnni":
        for width in stream.WIDTHS:
            if width >= queries * stream.DIGITS:
                return "stream", width, stream.DIGITS
    digits = 2 if queries <= TWO_DIGITS_UP_TO[kind] else 1
    widths = TILES[kind]
    return kind, next((width for width in widths if width >= queries * digits), widths[-1]), digits


def scan(name: str, width: int) -> Any:
    """The compiled scan that ``plan`` chose."""
    return stream.SCANS[width] if name == "stream" else SCANS[name]
