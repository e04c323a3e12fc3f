"""Every kernel: its source, and what it is compiled with. Nothing here needs a GPU; CI compiles every file for all architectures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STANDARD, DEVICE = "-std=c++17", "-default-device"
"""Of the language; generic lambdas run on a GPU as well, which compilers before CUDA 13.1 do not take for granted."""
KERNEL = re.compile(r'extern "C" __global__ void (?:IN_CLUSTERS )?(?:__launch_bounds__\([^)]*\) )?(\w+)\(')
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities that CI compiles for, times ten."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of kernels and the values of its macros."""

    file: str
    macros: tuple[tuple[str, int], ...]
    before: tuple[str, ...] = ()
    """Files that it stands on, which come first."""

    @property
    def code(self) -> str:
        """CUDA C++ without any include."""
        return "".join(Path(__file__).with_name(name).read_text("utf-8") for name in (*self.before, self.file))

    @property
    def kernels(self) -> tuple[str, ...]:
        """What the file itself defines for the host to start."""
        text = Path(__file__).with_name(self.file).read_text("utf-8")
        return tuple(KERNEL.findall(text))

    @property
    def options(self) -> tuple[str, ...]:
        """For the compiler."""
        return (STANDARD, DEVICE, *(f"-D{name}={value}" for name, value in self.macros))


def fused_topk(dim: int, half: bool) -> Source:
    """Kernels over rows of ``dim`` components, float16 or float32."""
    return Source("fused_topk.cu", (("DIM", dim), ("HALF", int(half))))


OWN_TARGETS = ("exact_wide.cu", "exact_slices.cu")
"""Files with instructions of one architecture alone: compiled for sm_90a."""
BEFORE = {
    "codes": ("common.cuh", "batch.cuh", "codes.cuh"),
    "queries": ("common.cuh", "copies.cuh", "batch.cuh", "codes.cuh"),
    "plane": ("common.cuh", "about.cuh", "chain.cuh", "plane.cuh", "plane_end.cuh", "plane_scan.cuh"),
    "batch": ("common.cuh", "copies.cuh", "batch.cuh"),
    "rank": ("common.cuh", "batch.cuh", "about.cuh"),
    "wide": ("common.cuh", "copies.cuh", "batch.cuh", "warpgroups.cuh", "wide.cuh"),
    "slices": ("common.cuh", "copies.cuh", "batch.cuh", "warpgroups.cuh", "wide.cuh"),
    "few": ("common.cuh", "batch.cuh"),
    "fallback": ("common.cuh", "copies.cuh", "all_rows.cuh"),
    "direct": ("common.cuh", "copies.cuh", "all_rows.cuh"),
}


def exact(part: str, macros: tuple[tuple[str, int], ...]) -> Source:
    """Kernels of certified search: ``part`` is the NAME of exact_NAME.cu, which says which macros it needs."""
    return Source(f"exact_{part}.cu", macros, BEFORE.get(part, ("common.cuh",)))


def plane_threads(leading: int) -> int:
    """Threads of a block of exact_plane.cu: as many as have registers for a tile of so many components, and the next."""
    return 640 if leading <= 320 else 384


PLANE_QUERIES = (1, 4)
"""QUERIES of exact_plane.cu: one alone has half a step's work."""
MOST_FEW = 32
"""Queries up to which exact_few.cu multiplies them."""
FEW_SHARED, PIECES = 48 << 10, (6, 14)
"""Bytes that it has for them, and 16-byte pieces that a lane has on their way: fewer do not keep memory busy, more have no registers."""


def few_macros(width: int, count: int) -> tuple[tuple[str, int], ...] | None:
    """QUERIES, EIGHTS and AHEAD of exact_few.cu for so many queries of this width; None where it has no room for them."""
    queries, slices = 16 if count <= 16 else 32, width // 128
    if count > MOST_FEW or queries * width > FEW_SHARED:
        return None
    eights = {1: 4, 2: 2, 3: 2}.get(slices, 1)
    pieces = 2 * slices * eights
    ahead = next((some for some in range(PIECES[1], PIECES[0] - 1, -1) if pieces % some == 0), 0)
    return (("QUERIES", queries), ("EIGHTS", eights), ("AHEAD", ahead)) if ahead else None


ROWS = ((0, 0), (1, 2), (2, 1), (3, 0), (4, 2), (5, 1), (6, 2))
"""Each type of rows once, and each metric: CELL and METRIC of common.cuh."""
WIDTHS = ((384, 384, 192, 128), (384, 256, 128, 128), (128, 128, 64, 32), (1536, 1536, 0, 64))
"""FULL, WIDTH, LEADING and QUERIES of the files that need them."""
FEW = (16, 32, 32, 16)
"""Queries that exact_few.cu has at each of them."""
COPIED = (64, 128, 256)
"""WIDE of the files that read all rows."""
RANKS = (256, 128, 1024, 512)
"""Threads of a block that ranks."""
WIDE = ((384, 2, 7), (256, 1, 8), (640, 1, 8))
"""WIDTH, TALL and AHEAD of exact_wide.cu."""
SLICES = ((768, 2, 1, 2, 7), (1024, 2, 1, 1, 5), (1536, 1, 2, 2, 7), (2048, 1, 2, 2, 4))
"""WIDTH, TALL, TILES, SHARING and AHEAD of exact_slices.cu."""


def all_sources() -> Iterator[Source]:
    """One of every way that the code goes: pieces of 16, 8, 4 and 2 bytes, one step or many, queries kept or read again; types, metrics, widths."""
    for dim in (1, 32, 384, 385, 386, 768, 1537):
        yield fused_topk(dim, half=False)
    for dim in (33, 384, 386, 768, 1028):
        yield fused_topk(dim, half=True)
    for cell, metric in ROWS:
        yield exact("values", (("CELL", cell), ("METRIC", metric)))
        for number, part in enumerate(("fallback", "direct")):
            yield exact(part, (("CELL", cell), ("METRIC", metric), ("WIDE", COPIED[(cell + number) % len(COPIED)])))
    for metric in (0, 1, 2):
        yield exact("merge", (("CELL", 0), ("METRIC", metric)))
    for number, (full, width, leading, queries) in enumerate(WIDTHS):
        cell, metric = ROWS[number]
        macros = (("CELL", cell), ("METRIC", metric), ("FULL", full), ("WIDTH", width), ("LEADING", leading))
        yield exact("codes", macros)
        yield exact("queries", (*macros, ("ALIKE", number % 2)))
        if few := few_macros(width, FEW[number]):
            yield exact("few", (*macros, *few))
        if leading:
            for most in PLANE_QUERIES:
                yield exact("plane", (*macros, ("THREADS", plane_threads(leading)), ("QUERIES", most)))
        yield exact("batch", (*macros, ("QUERIES", queries), ("STAGES", 3 - number % 2)))
        yield exact("rank", (*macros, ("RANK", RANKS[number % len(RANKS)]), ("SHARP", number % 2)))
    for part, names, layouts in (
        ("wide", ("TALL", "AHEAD"), WIDE),
        ("slices", ("TALL", "TILES", "SHARING", "AHEAD"), SLICES),
    ):
        for width, *layout in layouts:
            own = zip(names, layout, strict=True)
            yield exact(part, (("CELL", 0), ("METRIC", 0), ("FULL", width), ("WIDTH", width), *own))
