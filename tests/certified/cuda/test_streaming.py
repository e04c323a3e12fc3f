"""Codes that come to a GPU in pieces, on a GPU in words (gpu_in_words.py): what is scanned is what belongs there, in whichever order streams work."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.cuda.gpu_in_words import Array, bytes_at, forgotten, installed
from tests.certified.cuda.plane_in_words import PlaneInWords

WIDTH, LEADING, DIM, K = 128, 64, 6, 5
TILE_BYTES, SIDE = 128 * WIDTH, 5 * 128 + 4


def lines_of(tiles: int, module: Any) -> dict[str, Any]:
    """Codes, sides and plane of random bytes."""
    made = np.random.default_rng(tiles)

    def line(size: int) -> Any:
        array = Array(tiles * size, np.uint8)
        array[:] = made.integers(0, 256, tiles * size, dtype=np.uint8)
        return module.Line(array, size)

    return {"codes": (line(TILE_BYTES), line(4 * SIDE)), "plane": (line(8 * (8 * LEADING + 128)),)}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.mark.parametrize("seed", range(12))
def test_every_piece_is_there_when_it_is_scanned_by_any_stream(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 30, seed)
    from knnscope.certified.cuda import pieces, streaming

    monkeypatch.setattr(pieces, "FEWEST", 7)
    tiles = 60
    lines = lines_of(tiles, streaming)
    made = streaming.Streaming(lines, tiles, (0, 300_000, 700_000)[seed % 3])
    wrong, scanned = list[str](), list[tuple[int, int]]()

    def scan(kind: str, piece: Any) -> None:
        scanned.append((piece.first, piece.last))
        for line, at in zip(lines[kind], piece.at, strict=True):
            size = (piece.last - piece.first) * line.tile_bytes
            start = piece.first * line.tile_bytes
            if not np.array_equal(bytes_at(at, size), line.array[start : start + size]):
                wrong.append(f"{kind} {piece}")

    streams = [gpu.current, type(gpu.current)(gpu)]
    for turn in range(12):
        kind = gpu.random.choice(("codes", "plane"))
        gpu.current = streams[turn % 2]
        for piece in made.trip(kind):
            gpu.current.queue(lambda kind=kind, piece=piece: scan(kind, piece))
        if gpu.random.random() < 0.3:
            gpu.run()
            scanned.clear()
    gpu.run()
    assert not wrong
    scanned.clear()
    for piece in made.trip("codes"):
        gpu.current.queue(lambda piece=piece: scan("codes", piece))
    gpu.run()
    assert made.brought >= tiles * TILE_BYTES
    assert sorted(scanned) == [*pieces.pieces_of(tiles, max(last - first for first, last in scanned))]
    assert made.nbytes == (1 << 30) - gpu.free


def test_a_search_that_breaks_off_leaves_the_next_ones_right(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 30, 3)
    from knnscope.certified.cuda import pieces, streaming

    monkeypatch.setattr(pieces, "FEWEST", 7)
    lines = lines_of(40, streaming)
    made, right = streaming.Streaming(lines, 40, 0), list[bool]()

    def check(piece: Any) -> None:
        size, start = (piece.last - piece.first) * TILE_BYTES, piece.first * TILE_BYTES
        right.append(np.array_equal(bytes_at(piece.at[0], size), lines["codes"][0].array[start : start + size]))

    for turn in range(8):
        for number, piece in enumerate(made.trip("codes")):
            gpu.current.queue(lambda piece=piece: check(piece))
            if turn % 2 and number == turn // 2:
                break
    gpu.run()
    assert len(right) > 4 * 6
    assert all(right)


def test_fewer_places_are_taken_where_memory_is_full_and_two_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 400_000)
    from knnscope.certified.cuda import pieces, streaming

    monkeypatch.setattr(pieces, "FEWEST", 7)
    lines = lines_of(200, streaming)
    made = streaming.Streaming(lines, 200, 10**7)
    with pytest.raises(gpu.cupy.cuda.memory.OutOfMemoryError):
        list(made.trip("codes"))
    gpu.free = 600_000
    made = streaming.Streaming(lines, 200, 10**6)
    assert made.count("codes") == 17
    assert made.nbytes == 2 * 250_000
    assert "of them at once on the GPU" in made.told


def test_codes_are_written_through_a_stage_into_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 30)
    from knnscope.certified.cuda import written

    gpu.copy = lambda to, source, size, *_: ctypes.memmove(to, source, size)  # type: ignore[method-assign]
    gpu.cupy.cuda.runtime.memcpyAsync = gpu.copy
    count, step = 1000, 256
    random = np.random.default_rng(0)
    for memory in (100, 1 << 20):  # sides in host memory, and on the GPU
        places = written.OnGpu(count, WIDTH, LEADING), written.InHost((count, WIDTH, LEADING), step, 0, memory)
        for first in range(0, count, step):
            some = min(step, count - first)
            codes = random.integers(0, 256, some * WIDTH, dtype=np.uint8)
            sides = random.standard_normal((some, 3)).astype(np.float32)
            plane = random.integers(0, 256, -(-some // 16) * written.plane_bytes(LEADING), dtype=np.uint8)
            for place in places:
                to = place.at(first, some)
                to[0][: len(codes)] = codes
                for row in range(some):
                    tile, line = divmod(row, 128)
                    to[1][tile, [2 * line, 2 * line + 1, 256 + line]] = sides[row]
                to[2][: len(plane)] = plane
                place.keep(first, some)
        there, here = places
        for name in ("codes", "sides"):
            np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
        np.testing.assert_array_equal(here.plane[: there.plane.nbytes], there.plane)
        assert np.isinf(here.sides).sum() == -count % 128
        assert there.streaming is None
        assert here.streaming is not None


def test_where_rows_and_codes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, (1 << 30) + 50_000_000)
    from knnscope.certified.cuda import host_rows

    rows = np.zeros((100_000, 128), np.float32)  # 51.2 MB, and codes of at most 22.4 MB
    plans = {memory: host_rows.plan(rows, memory) for memory in (80_000_000, 60_000_000, 20_000_000, None)}
    assert [(plan.rows_stay, plan.codes_stay) for plan in plans.values()] == [
        (False, False), (True, False), (True, True), (True, False),
    ]  # fmt: skip
    assert plans[20_000_000].codes == 20_000_000
    there: Any = SimpleNamespace(shape=rows.shape, nbytes=rows.nbytes)  # rows that lie on the GPU stay there
    assert host_rows.plan(there, None) == host_rows.Plan(False, False, None)
    assert host_rows.plan(there, 60_000_000) == host_rows.Plan(False, True, 8_800_000)
    gpu.free = (1 << 30) + 1
    assert host_rows.plan(rows, None) == host_rows.Plan(True, True, None)


def test_memory_that_the_system_does_not_pin_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 30)
    from knnscope.certified.cuda import host_rows

    def full(*_: Any) -> None:
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(gpu.cupy.cuda, "PinnedMemory", full)
    with pytest.raises(KnnscopeError, match=r"^codes of .* do not fit into .*cudaErrorMemoryAllocation.*device='cpu'$"):
        host_rows.empty((1000, 1000), np.uint8, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_multiplies_every_tile_once_and_makes_thresholds_between(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = installed(monkeypatch, 1 << 30, seed)
    from knnscope.certified.cuda import batch, passes, pieces, streaming

    monkeypatch.setattr(pieces, "FEWEST", 7)
    tiles, done, wrong = 60, list[Any](), list[Any]()
    lines = lines_of(tiles, streaming)
    sides_stay = seed % 2 == 0
    if sides_stay:
        sides = lines["codes"][1].array
        lines["codes"] = lines["codes"][:1]
    codes: Any = SimpleNamespace(
        width=WIDTH, codes=lines["codes"][0].array, streaming=streaming.Streaming(lines, tiles, 400_000 * (seed % 3)),
        sides=sides if sides_stay else lines["codes"][1].array,
    )  # fmt: skip

    class Prepared:
        def __init__(self, run: Any, _shape: Any, given: Any) -> None:
            first, last = given.first, given.last
            at = [(given.codes + first * TILE_BYTES) % 2**64, (given.sides + first * 4 * SIDE) % 2**64]
            self.start = lambda: run(first, last, at)

        def __call__(self, _stream: int) -> None:
            gpu.current.queue(self.start)

    def scan(first: int, last: int, at: list[int]) -> None:
        done.append((first, last))
        for array, place, size in ((codes.codes, at[0], TILE_BYTES), (codes.sides, at[1], 4 * SIDE)):
            if not np.array_equal(bytes_at(place, (last - first) * size), array[first * size : last * size]):
                wrong.append((first, last))

    monkeypatch.setattr(passes, "Prepared", Prepared)
    told = [lambda _stream, name=name: gpu.current.queue(lambda: done.append(name)) for name in ("first", "again")]
    kernels: Any = passes.Kernels(lambda *given: (done.append("sample"), scan(*given)), scan, *told)
    given = batch.Batch(query_tiles=3, queries=300)
    streamed = passes.Passes(codes, given, kernels, passes.Grid(128, 0, 8, False), passes.Stops(4, (5, 23), tiles))
    for _ in range(3):
        done.clear()
        streamed(1)
        gpu.run()
        assert not wrong
        assert [done[0], done[2]] == ["sample", "first"]
        assert done[1][1] - done[1][0] == 4
        scanned = [one for one in done[3:] if one != "again"]
        assert sorted(tile for first, last in scanned for tile in range(first, last)) == list(range(tiles))
        for place, seen in zip((i for i, one in enumerate(done) if one == "again"), (5, 23), strict=True):
            assert sum(last - first for first, last in (one for one in done[3:place] if one != "again")) == seen


@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_few_queries_are_answered_piece_by_piece(seed: int, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 30, seed)
    from knnscope.certified.cuda import pieces, plane, plane_pieces, streaming, table

    monkeypatch.setattr(pieces, "FEWEST", 7)
    count = 40 * 128 - 50
    random = np.random.default_rng(seed)
    rows, queries = (
        random.integers(-3, 4, (count, DIM)).astype(np.float32),
        random.integers(-3, 4, (7, DIM)).astype(np.float32),
    )
    names = random.permutation(count) if seed == 1 else None
    lines = lines_of(40, streaming)
    words = PlaneInWords(gpu, lines["plane"][0], names, metric)
    monkeypatch.setattr(plane, "Workspace", words.workspace)
    monkeypatch.setattr(plane_pieces, "merge_there", words.merged)
    there = table.Table(
        rows.view(Array),
        "float32",
        None if names is None else names.view(Array),
        None,
        None,
        definition.METRICS.index(metric),
        0,
    )
    codes = plane_pieces_codes(streaming.Streaming(lines, 40, 200_000 * seed))
    monkeypatch.setattr(plane_pieces, "replace", lambda one, **_: one)
    searched = plane_pieces.PlaneInPieces(there, codes, threading.Lock())
    called = np.arange(count) if names is None else names
    for mask in (None, random.random((1, count)) < 0.3, random.random((7, count)) < 0.001):
        allowed = None if mask is None else np.ascontiguousarray(mask).view(Array)
        for out in (None, (Array((7, K), np.int64), Array((7, K), np.float64))):
            answer = searched.queue(queries.view(Array), K, allowed, out)
            ids, values, proof = answer.brought()
            assert out is None or answer.ids is out[0]
            for number, query in enumerate(queries):
                left = np.flatnonzero(np.ones(count, bool) if mask is None else mask[number % len(mask)])
                best = definition.distances(rows[left], query[None].astype(np.float64), metric)[0]
                order = np.lexsort((called[left], best if metric == "l2" else -best))[:K]
                assert ids[number].tolist() == [*called[left][order], *[-1] * (K - len(order))]
                np.testing.assert_array_equal(values[number, : len(order)], best[order])
            assert proof.rows_scanned == count
            assert (proof.candidates == 3 * codes.streaming.count("plane")).all()
    assert words.known


def plane_pieces_codes(streaming: Any) -> Any:
    """Codes as far as the plane's pieces look at them."""
    return SimpleNamespace(streaming=streaming)
