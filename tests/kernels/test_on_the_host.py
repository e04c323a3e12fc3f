"""Kernels compiled for the host and run by its threads: what goes wrong between blocks and threads, or in the layout of codes, goes wrong here too."""

from __future__ import annotations

from pathlib import Path

import pytest

from knnscope.certified.cuda import tiled, wide
from knnscope.kernels import sources
from tests.kernels.on_the_host import built, run

KINDS = {"float32": (0, 0, 128), "bfloat16, cosine": (2, 2, 64), "float64": (3, 0, 256), "uint8, ip": (5, 1, 64)}
"""CELL, METRIC and WIDE."""
H200_SHARED = 232_448
"""Bytes of shared memory that a block may have there."""
FULL = {"together": 4, "held": 512, "stages": 3, "masked": 1, "offset": 0}


class AllRows:
    """all_rows.cpp, built for a kernel and a kind when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._built = folder, dict[tuple[str, str], Path]()

    def __call__(self, part: str, kind: str, *arguments: int, **more: int) -> None:
        """Run it; the arguments are those of all_rows.cpp, as far as ``late``."""
        program = self._built.get((part, kind)) or self._build(part, kind)
        run(program, *arguments, *(FULL | more).values())

    def _build(self, part: str, kind: str) -> Path:
        folder = self._folder / f"{part}, {kind}"
        folder.mkdir()
        macros = (*zip(("CELL", "METRIC", "WIDE"), KINDS[kind], strict=True), ("DIRECT", int(part == "direct")))
        self._built[part, kind] = built(folder, "all_rows", sources.exact(part, macros))
        return self._built[part, kind]


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> AllRows:
    return AllRows(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize(
    "shape",
    [
        (3000, 20, 6, 4, 3, 4), (2000, 512, 5, 5, 9, 4), (1500, 300, 5, 7, 2, 36), (257, 257, 3, 2, 100, 3), (100, 1, 300, 2, 50, 4),
        (300, 5, 3, 3, 2, 1044),
    ],
)  # fmt: skip
def test_all_rows_answer_what_a_path_could_not(all_rows: AllRows, shape: tuple[int, ...], late: int) -> None:
    """Ties and large k: lists that fill, and lists of one query beside those of the next. In turn: no block waits for one that has not begun."""
    rows, k, queries, blocks, levels, dim = shape
    for in_turn, together in ((0, 4), (1, 4), (late, 1)):
        all_rows(
            "fallback", "float32", rows, k, queries, blocks, in_turn, levels, dim, in_turn, late, together=together
        )


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        pytest.param(kind, part, marks=() if (number + place) % 2 == 0 or kind == "float32" else pytest.mark.slow)
        for number, kind in enumerate(KINDS)
        for place, part in enumerate(("fallback", "direct"))
    ],
)
def test_rows_of_every_kind_wherever_they_begin(all_rows: AllRows, kind: str, part: str) -> None:
    """Whole tiles and parts of one, components held in several turns, two tiles or five on their way, masks, rows that begin anywhere."""
    for seed, (dim, offset) in enumerate(((48, 0), (160, 1), (37, 0), (320, 0), (531, 0))):
        all_rows(
            part, kind, 290, 9, 5, 2, seed, 5, dim, 0, seed % 2,
            held=512 if seed % 3 else 256, stages=2 + 3 * (seed % 2) * (kind != "float64"), masked=1 + 2 * (seed in (1, 4)), offset=offset,
        )  # fmt: skip


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 2, 8), (257, 257, 3, 2, 100, 3), (2000, 512, 6, 4, 4, 20), (600, 10, 17, 1, 3, 5)]
)
def test_blocks_of_the_same_queries_answer_together(all_rows: AllRows, shape: tuple[int, ...]) -> None:
    rows, k, queries, blocks, levels, dim = shape
    for seed, together in ((0, 4), (1, 1)):
        all_rows("direct", "float32", rows, k, queries, blocks, seed, levels, dim, seed, seed, together=together)


@pytest.mark.parametrize(("width", "shapes"), [
    (384, ((300, 16, 1), (1000, 5, 2))), (384, ((700, 19, 2),)), (768, ((260, 16, 3),)),
    *(pytest.param(*given, marks=pytest.mark.slow) for given in ((128, ((500, 3, 1),)), (512, ((400, 32, 2),)))),
])  # fmt: skip
def test_fragments_are_loaded_as_codes_lie(
    tmp_path: Path, width: int, shapes: tuple[tuple[int, int, int], ...]
) -> None:
    """Rows, queries and blocks: products, groups and hits of exact_few.cu are those of the components in their own order."""
    macros = sources.few_macros(width, shapes[0][1])
    assert macros
    source = sources.exact(
        "few", (("CELL", 0), ("METRIC", 0), ("FULL", width), ("WIDTH", width), ("LEADING", 0), *macros)
    )
    program = built(tmp_path, "few", source)
    for rows, queries, blocks in shapes:
        run(program, rows, queries, blocks, 1)


@pytest.mark.parametrize(
    ("width", "queries"),
    [(384, 128), (128, 64), (256, 32), *(pytest.param(width, 128, marks=pytest.mark.slow) for width in (128, 768))],
)
def test_tiles_of_a_block_find_what_is_near(tmp_path: Path, width: int, queries: int) -> None:
    """Products, groups and hits of exact_batch.cu, with more lines than wait at once, and queries that are nobody's."""
    stages = 2 if width == 256 else 3
    macros = (("CELL", 0), ("METRIC", 0), ("FULL", width), ("WIDTH", width), ("QUERIES", queries), ("STAGES", stages))
    program = built(tmp_path, "batch", sources.exact("batch", macros))
    shared = tiled.shared(width, queries, stages)
    for seed, (rows, count, blocks, each) in enumerate(
        ((700, queries, 2, 2), (385, queries + 9, 3, 3), (100, 5, 1, 1))
    ):
        for late in (0, 1):
            run(program, rows, count, blocks, each, seed, late, shared)


@pytest.mark.parametrize(
    ("kind", "sharp", "shapes"),
    [
        ("float32", 0, ((30, 10, 200, 1), (12, 40, 200, 0))),
        pytest.param("float32", 1, ((30, 10, 200, 1), (12, 90, 200, 0)), marks=pytest.mark.slow),
        ("uint8, ip", 1, ((24, 1, 150, 1),)),
        pytest.param("float64", 0, ((24, 5, 150, 1),), marks=pytest.mark.slow),
    ],
)
def test_what_is_left_is_ranked(tmp_path: Path, kind: str, sharp: int, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Lists that a small block has no room for are ranked in the second turn, by more blocks than there are such lists or by one; ties by their names."""
    cell, metric, _ = KINDS[kind]
    program = built(tmp_path, "rank", rank_source(cell, metric, sharp))
    for seed, (queries, k, room, two) in enumerate(shapes):
        for blocks in (1, 7) if two else (0,):
            run(program, queries, k, room, seed, 100 * two, 70, room, room, blocks, 0, 0)


CLOSE, HUGE_VALUES, CHANGED = 1, 2, 3
"""Data of rank.cpp."""


@pytest.mark.parametrize(
    ("cell", "metric", "full", "sharp"),
    [(0, 0, 128, 0), *(pytest.param(*given, marks=pytest.mark.slow) for given in ((0, 0, 256, 1), (0, 1, 128, 0), (3, 1, 128, 1)))],
)  # fmt: skip
def test_rows_that_bounds_do_not_tell_apart_are_ranked(
    tmp_path: Path, cell: int, metric: int, full: int, sharp: int
) -> None:
    """Hundreds of rows, and dozens as far as the k-th; keys that float32 has no room for; rows that are no numbers. Warps go on in any order."""
    program = built(tmp_path, "rank", rank_source(cell, metric, sharp, full))
    for seed, (data, k, held, room) in enumerate(
        ((CLOSE, 10, 300, 900), (CLOSE, 1, 300, 900), (HUGE_VALUES, 10, 100, 300), (CHANGED, 10, 100, 300))
    ):
        for late in (0, 1):
            run(program, 24 if data != CHANGED else 120, k, room, seed, held, 150, room, room, 3, data, late)
    if sharp:  # more than there is room to tell of how far each is
        run(program, 8, 10, 4500, 1, 2900, 150, 4500, 4500, 3, CLOSE, 0)


def rank_source(cell: int, metric: int, sharp: int, full: int = 128) -> sources.Source:
    macros = {"CELL": cell, "METRIC": metric, "FULL": full, "WIDTH": full, "LEADING": 0, "RANK": 128, "SHARP": sharp}
    return sources.exact("rank", tuple(macros.items()))


@pytest.mark.parametrize(
    ("metric", "full", "wide"),
    [(2, 128, 0), pytest.param(0, 256, 1, marks=pytest.mark.slow), pytest.param(1, 128, 1, marks=pytest.mark.slow)],
)
def test_few_queries_are_written_as_many_are(tmp_path: Path, metric: int, full: int, wide: int) -> None:
    """The last block of eight queries finds what all others have written."""
    run(built(tmp_path, "queries", queries_source(metric, full, alike=False)), 11, full - 6, wide, 1)


@pytest.mark.parametrize("metric", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_queries_of_a_thread_share_a_step_where_they_are_alike(tmp_path: Path, metric: int) -> None:
    """And codes are as near to what they stand for as the step says."""
    run(built(tmp_path, "queries", queries_source(metric, 256, alike=True)), 200, 250, 0, 2)


def queries_source(metric: int, full: int, *, alike: bool) -> sources.Source:
    macros = ("CELL", 0), ("METRIC", metric), ("FULL", full), ("WIDTH", 128), ("ALIKE", int(alike))
    return sources.exact("queries", macros)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_team_adds_as_one_thread_does(tmp_path: Path, seed: int) -> None:
    """Starts that are guessed, and such that are not: sums that vanish, ties, infinities, all to the last bit."""
    source = sources.Source("chain.cuh", (("CELL", 0), ("METRIC", 0), ("FULL", 384)), ("common.cuh", "about.cuh"))
    run(built(tmp_path, "chain", source), seed, 120)


@pytest.mark.parametrize(
    ("width", "count"),
    [
        (384, 300), (768, 300), (1536, 100),
        *(pytest.param(width, count, marks=pytest.mark.slow) for width in (128, 640, 1152, 1536, 2176) for count in (100, 300)),
    ],
)  # fmt: skip
def test_warpgroups_give_each_other_turns_and_clusters_share_rows(tmp_path: Path, width: int, count: int) -> None:
    """Products, groups and hits are those of the components in their own order, whichever warp goes on and in whatever order copies come."""
    scans(tmp_path, width, count)


def scans(tmp_path: Path, width: int, count: int) -> None:
    """As many queries by what is chosen for them."""
    chosen = wide.layout(width, count, H200_SHARED)
    assert chosen
    program = built(tmp_path, "wide", wide_source(width, chosen.name, chosen.macros))
    for seed, (rows, queries, clusters, each) in enumerate(((700, count, 1, 2), (385, count - 87, 2, 3))):
        for late in (0, 1):
            run(program, rows, queries, clusters, each, seed, late, chosen.shared)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("slices", (2, 1, 1, 2)), ("slices", (1, 2, 2, 4)), ("wide", (1, 3)), ("wide", (2, 3)),
        pytest.param("slices", (2, 1, 4, 3), marks=pytest.mark.slow),  # a cluster of four, which nobody asks for
    ],
)  # fmt: skip
def test_a_ring_that_is_hardly_long_enough_still_turns(tmp_path: Path, name: str, values: tuple[int, ...]) -> None:
    """Items of one tile, which one warpgroup alone has, and of several."""
    names = ("TALL", "AHEAD") if name == "wide" else ("TALL", "TILES", "SHARING", "AHEAD")
    source = wide_source(256, name, tuple(zip(names, values, strict=True)))
    program = built(tmp_path, "wide", source)
    for seed in range(3):
        run(program, 300 + 37 * seed, 130 + 31 * seed, 1 + seed % 3, 1 + seed % 3, seed, 1, 1 << 18)


def wide_source(width: int, name: str, macros: tuple[tuple[str, int], ...]) -> sources.Source:
    return sources.exact(name, (("CELL", 0), ("METRIC", 0), ("FULL", width), ("WIDTH", width), *macros))
