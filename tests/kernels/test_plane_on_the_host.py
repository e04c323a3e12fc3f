"""One to four queries by the plane (exact_plane.cu) on threads of the host: answers, words between blocks, barriers of warps, and what the host is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from knnscope.certified.cuda.plane_layout import Sizes, layout
from knnscope.certified.cuda.plane_told import told
from knnscope.kernels import sources
from tests.kernels.on_the_host import built, run

CLUSTERED, TIES, DOUBLES, FAR, SPARSE = range(5)
"""Kinds of rows (host/plane_data.h)."""
H200, H200_SHARED = 900, 232_448
"""Its architecture, and bytes of shared memory that a block may have there."""
SMALL_SHARED, SMALLEST_SHARED = 54_000, 49_000
"""So few that bounds lie in GPU memory, and queries as well."""
LEFT = "left to all rows"


class Planes:
    """plane.cpp for rows of one kind, built for one query or four when first asked for."""

    def __init__(
        self, folder: Path, cell: int, metric: int, full: int = 128, leading: int = 64, architecture: int = H200
    ) -> None:
        self._folder, self._architecture, self.metric = folder, architecture, metric
        self._full, self._leading, self._built = full, leading, dict[int, Path]()
        self._rows = (("CELL", cell), ("METRIC", metric), ("FULL", full), ("WIDTH", full), ("LEADING", leading))

    def __call__(
        self,
        kind: int,
        rows: int,
        k: int,
        queries: int,
        blocks: int,
        room: int = H200_SHARED,
        each: int = 0,
        **more: int,
    ) -> tuple[int, list[tuple[float, float]]]:
        """Search; ``more``: what plane.cpp is given beside.

        Returns:
            Queries that were left to all rows; of each other one, by how much further than the k-th value all that is no hit is for certain, and is.
        """
        dim = more.pop("dim", self._full - 7)
        made = layout(Sizes(rows, dim, self._full, self._leading, queries, k), blocks, room)
        if each:
            made = made._replace(each=each, meeting=made.meeting - 8 * queries * blocks * (made.each - each))
        given = {
            "kind": kind,
            "rows": rows,
            "dim": dim,
            "k": k,
            "seed": 0,
            "wide": 0,
            "masked": 1,
            "known": 0,
            "named": 1,
            "far": 0,
        }
        given |= {"searches": 2, "started": blocks, "late": 0} | more | made._asdict() | {"queries": queries}
        lines = run(self._program(made.queries), *(f"{name}={value}" for name, value in given.items())).splitlines()
        return lines.count(LEFT), [self._margins(line) for line in lines if line != LEFT]

    def _program(self, queries: int) -> Path:
        if queries not in self._built:
            folder = self._folder / str(queries)
            folder.mkdir()
            macros = (("__CUDA_ARCH__", self._architecture), *self._rows)
            threads = sources.plane_threads(self._leading)
            plane = sources.exact("plane", (*macros, ("THREADS", threads), ("QUERIES", queries)))
            self._built[queries] = built(folder, "plane", plane, codes=sources.exact("codes", macros))
        return self._built[queries]

    def _margins(self, line: str) -> tuple[float, float]:
        """What is told, by what reads it on a GPU's host, and what is so."""
        what, last, left = line.split()
        last_value, left_key = float.fromhex(last), float.fromhex(left)
        found = told(np.frombuffer(bytes.fromhex(what), np.uint8), np.array([last_value]), self.metric).margins[0]
        if not math.isfinite(last_value) or left_key == math.inf:
            return float(found), math.inf
        return float(found), math.sqrt(left_key) - math.sqrt(last_value) if self.metric == 0 else last_value + left_key


def no_margin_is_overstated(margins: list[tuple[float, float]]) -> None:
    assert margins
    for found, true in margins:
        assert found <= max(0.0, true) * (1 + 1e-12)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Planes:
    """Of bfloat16 and cosine."""
    return Planes(tmp_path_factory.mktemp("planes"), cell=2, metric=2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Planes:
    """Of float32 and l2; asked by one query."""
    return Planes(tmp_path_factory.mktemp("alone"), cell=0, metric=0)


def test_rows_around_centres(planes: Planes) -> None:
    """One search after another; with a mask, and with values that are known of other rows."""
    left, margins = planes(CLUSTERED, 1100, 10, 3, 3, searches=3, masked=2)
    no_margin_is_overstated(margins)
    assert not left
    assert any(found > 0.02 * true for found, true in margins if true < math.inf)  # it tells something
    no_margin_is_overstated(planes(CLUSTERED, 900, 17, 4, 2, late=1, known=1, wide=1, named=0)[1])


def test_what_is_unlike_other_searches(planes: Planes) -> None:
    """Fewer rows than neighbors, or than blocks; few that make a threshold, too few for k among them; numbers in GPU memory, a query without a bound."""
    assert planes(CLUSTERED, 7, 10, 2, 2)[1] == [(math.inf, math.inf)] * 4
    no_margin_is_overstated(planes(CLUSTERED, 3, 1, 4, 2, searches=6)[1])  # all that is left was computed, now and then
    planes(CLUSTERED, 100, 10, 4, 7, late=1)
    planes(CLUSTERED, 500, 4, 2, 3, each=2)
    planes(CLUSTERED, 300, 20, 2, 3, each=2)
    planes(CLUSTERED, 700, 30, 4, 2, room=SMALL_SHARED, far=1)
    planes(CLUSTERED, 500, 10, 3, 2, room=SMALLEST_SHARED, late=1)


def test_few_ties_go_by_their_names(planes: Planes) -> None:
    """So few that blocks tell them by words alone."""
    left, margins = planes(TIES, 800, 4, 4, 3, masked=20)
    no_margin_is_overstated(margins)
    assert not left


def test_rows_without_bounds(planes: Planes) -> None:
    """Rows too long for float16 are looked at in every search."""
    left, margins = planes(FAR, 600, 3, 4, 2, far=1)
    no_margin_is_overstated(margins)
    assert not left


@pytest.mark.parametrize("late", [0, 1])
def test_more_hits_than_words(planes: Planes, late: int) -> None:
    """They go by a list. Where that is too short all rows have to answer, and warps that look at it while it fills agree."""
    left, margins = planes(DOUBLES, 1700, 100, 3, 2, late=late)
    assert left
    assert left + len(margins) == 6
    left, margins = planes(TIES, 900, 17, 4, 2, known=1) if late else planes(DOUBLES, 700, 10, 4, 3, late=1)
    assert not left
    assert len(margins) == 8


@pytest.mark.parametrize(("k", "blocks"), [(10, 2), (17, 5)])
def test_the_last_neighbor_is_far_from_the_others(planes: Planes, k: int, blocks: int) -> None:
    """Rows that make a threshold are the nearest of all: with one of them less it would leave out a neighbor. Several warps bring what it is made of."""
    no_margin_is_overstated(planes(SPARSE, 512, k, 3, blocks, seed=k, late=k % 2)[1])


def test_a_word_that_never_comes(planes: Planes) -> None:
    """Blocks give up, and say so; the next search is answered."""
    left, margins = planes(CLUSTERED, 500, 10, 2, 3, started=2, late=1)
    assert not left
    assert len(margins) == 2


@pytest.mark.parametrize("late", [0, 1])
def test_one_query_has_two_tiles_a_step(alone: Planes, late: int) -> None:
    if late:
        left, margins = alone(CLUSTERED, 1100, 100, 1, 2, searches=3, late=1, masked=2)
        no_margin_is_overstated(margins)
        assert not left
        alone(TIES, 1100, 17, 1, 2, known=1)
    else:
        alone(FAR, 1030, 1, 1, 2, wide=1, room=SMALL_SHARED, far=1)
        alone(SPARSE, 1030, 10, 1, 2, named=0)
        assert alone(DOUBLES, 1800, 100, 1, 2, late=1)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "metric", "full", "leading", "architecture"),
    [(0, 0, 128, 64, H200), (2, 2, 128, 128, 750), (5, 1, 256, 256, H200), (5, 0, 128, 64, H200), (0, 1, 384, 192, 890), (3, 2, 384, 384, H200)],
)  # fmt: skip
def test_rows_of_every_kind(tmp_path: Path, cell: int, metric: int, full: int, leading: int, architecture: int) -> None:
    """Types of rows, metrics, and widths; sums by teams of warps, and on GPUs of few float64 numbers by one warp each."""
    these = Planes(tmp_path, cell, metric, full, leading, architecture)
    far = FAR if cell != 5 else CLUSTERED  # bytes are never so far
    for number, kind in enumerate((CLUSTERED, TIES, DOUBLES, far, SPARSE) * 4):
        k, late, blocks = (1, 10, 17, 100)[number // 5], number % 2, 2 + number % 4
        for queries in (1, 1 + (number + k) % 4):
            rows = 1500 if queries > 1 else 512 * blocks + 99
            more = {
                "masked": 1 + (k == 17),
                "known": int(k == 10),
                "named": int(k != 17),
                "wide": number % 3 % 2,
                "far": int(queries == 4),
            }
            no_margin_is_overstated(
                [*these(kind, rows, k, queries, blocks, seed=number, late=late, **more)[1], (0.0, math.inf)]
            )
