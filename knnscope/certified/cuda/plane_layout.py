"""How a search by kernels/exact_plane.cu is shared out between blocks, and where its numbers lie. Nothing here needs a GPU."""

from __future__ import annotations

from typing import NamedTuple

from knnscope.kernels import sources

TOGETHER, MEETING = 4, 4
"""Queries of one scan: two digits each, eight columns of a product. Warps of a block that do not scan."""
PLANE_ROWS = 16
"""Of a tile."""
CHOSEN, SHARE = 100, 768
"""Rows that make a threshold: so many more than three times k, and at most."""
HITS, CHUNK, KINDS, COPIES, OWN_SHARED = 1024, 128, 8, 8, 28 << 10
"""As the kernel has them: rows of a query that are ranked at most, terms of a warp, words of a block's report, copies of words that all blocks wait for;
bytes of its static shared memory at most."""
MOST_BLOCKS = 256
"""Whose reports one of them reads."""
EARLY, LAST_STEPS = 1 / 2, (5, 7)
"""Share of a scan after which its threshold is made; in a long one it is made so many steps before the end, which take as long as making it: of two tiles,
and of one."""


class Sizes(NamedTuple):
    """What is searched. full, leading: components of a rotated row, padded, and those that the plane holds. queries: so many at once."""

    rows: int
    dim: int
    full: int
    leading: int
    queries: int
    k: int


class Layout(NamedTuple):
    """What the kernel is given.

    threads, queries: its macros; blocks: that are started. each, meet, steps, place, kept: as in ``Plane``. shared: bytes of a block.
    words, meeting, reports: numbers of 64 bits, and 128 for reports, that blocks tell each other, and what is read behind them.
    bounds, asked: numbers in GPU memory, 0 where they fit into shared memory.
    """

    threads: int
    queries: int
    blocks: int
    each: int
    meet: int
    steps: int
    place: int
    kept: int
    shared: int
    words: int
    meeting: int
    reports: int
    bounds: int
    asked: int


def layout(sizes: Sizes, processors: int, room: int) -> Layout:
    """Share a search out.

    Args:
        sizes: what is searched.
        processors: multiprocessors of the GPU; each has a block.
        room: bytes of shared memory that a block may have.
    """
    rows, dim, full, leading, count, k = sizes
    threads = sources.plane_threads(leading)
    scanning, blocks = threads // 32 - MEETING, min(processors, MOST_BLOCKS)
    each = min(scanning, SHARE // blocks, max(2, -(-(3 * k + CHOSEN) // blocks)))
    alone = (
        count == 1 and rows >= 2 * PLANE_ROWS * blocks * each
    )  # two tiles a step; fewer rows would make few steps to choose from
    step = PLANE_ROWS * (2 if alone else 1)
    steps = -(-rows // (step * blocks * scanning))
    place = steps * scanning * step
    terms, most_bytes = 8 * CHUNK * (threads // 32), room - OWN_SHARED
    bounds_fit = terms + 4 * count * place <= most_bytes
    kept = max(16 * HITS, 4 * count * full, terms + 4 * count * place * bounds_fit)
    queries_fit = kept + 8 * count * dim <= most_bytes
    return Layout(
        threads=threads,
        queries=1 if alone else TOGETHER,
        blocks=blocks,
        each=each,
        meet=max(1, round(EARLY * steps), steps - LAST_STEPS[not alone]),
        steps=steps,
        place=place,
        kept=kept,
        shared=kept + 8 * count * dim * queries_fit,
        words=COPIES * count * leading,
        meeting=COPIES * count * blocks * each + SHARE,  # what comes after is read as well, and so it is of reports
        reports=count * KINDS * blocks + MOST_BLOCKS,
        bounds=0 if bounds_fit else blocks * count * place,
        asked=0 if queries_fit else count * dim,
    )
