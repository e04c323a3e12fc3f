"""Rows that stay in a file are answered as any others, whatever is kept beside them; and what may happen to a file is one line."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified import memory, row_file
from knnscope.certified.cpu import passing, plane
from knnscope.certified.cpu import search as searches
from knnscope.certified.index import ExactIndex
from knnscope.datasets import vector_files
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors, VectorDataset
from knnscope.search import definition
from tests.certified import answers
from tests.certified.cpu.planes import planes_for_all
from tests.datasets.vector_writers import write_bin, write_vecs
from tests.processes import until

METRICS = definition.METRICS
RANDOM = np.random.default_rng


def saved(folder: Path, rows: np.ndarray) -> Path:
    """Rows as a .npy file."""
    path = folder / "rows.npy"
    np.save(path, rows)
    return path


def falling(count: int, dim: int = 64, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Rows for which a plane pays."""
    fall = np.arange(1, dim + 1) ** -0.8
    return (RANDOM(seed).standard_normal((count, dim)) * fall * 40).clip(-120, 120).astype(dtype)


@given(answers.small(), st.sampled_from(("fast", "small", "1GiB")))
@settings(max_examples=40)
def test_any_small_file(asked: answers.Asked, memory: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing, "CHUNK", 32)
        patch.setattr(searches, "READ_BYTES", 1)
        index = ExactIndex.build(saved(Path(folder), asked.rows), asked.metric, threads=2, memory=memory)
        found = index.search(asked.queries, asked.k, asked.where)
    answers.check(found, asked.rows, asked.queries, asked.k, asked.metric, asked.where)


@given(st.data())
@settings(max_examples=25)
def test_any_small_file_with_a_plane(data: st.DataObject) -> None:
    """Ties across the pieces that are read, lists that run full, pieces that all rows are computed by."""
    count, metric = data.draw(st.integers(40, 140)), data.draw(st.sampled_from(METRICS))
    random, queries = RANDOM(data.draw(st.integers(0, 9999))), data.draw(st.sampled_from((1, 2, 5, 11)))
    shape = data.draw(st.sampled_from(("normal", "ties", "far", "zeros")))
    both = answers.SHAPES[shape](random, count + queries, 33).astype(np.float32)
    rows, asked, k = both[:count], both[count:], data.draw(st.integers(1, count))
    where = random.random((queries, count)) < 0.5 if data.draw(st.booleans()) else None
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        planes_for_all(patch)
        patch.setattr(passing, "CHUNK", 32)
        patch.setattr(searches, "READ_BYTES", 1)
        patch.setattr(searches, "FEWEST_BLOCKS", 1)
        if data.draw(st.booleans()):
            patch.setattr(searches, "LEAST_ROOM", data.draw(st.sampled_from((8, 16, 40))))
        index = ExactIndex.build(
            saved(Path(folder), rows), metric, threads=2, memory=data.draw(st.sampled_from(("fast", "small", "1GiB")))
        )
        found = index.search(asked, k, where)
        within = index.radius_search(asked, expected_radius(rows, asked, k, metric), where)
    answers.check(found, rows, asked, k, metric, where)
    for number in range(queries):
        own = found.ids[number][found.ids[number] >= 0]
        inside = within.ids[within.offsets[number] : within.offsets[number + 1]]
        assert set(own.tolist()) <= set(inside.tolist()) or where is not None


def expected_radius(rows: np.ndarray, queries: np.ndarray, k: int, metric: str) -> np.ndarray:
    """What the k-th neighbor of each query is away."""
    return definition.search(rows, queries, k, metric).distances[:, -1]


@cache
def all_ranked(metric: str) -> Neighbors:
    """Of falling(11, seed=1) among falling(9003), whatever memory is given."""
    return definition.search(falling(9003), falling(11, seed=1), 9003, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("given_memory", ["fast", "small", "2MB", "600KB"])
def test_every_level_answers_every_batch(tmp_path: Path, metric: str, given_memory: str) -> None:
    rows, queries = falling(9003), falling(11, seed=1)
    index = ExactIndex.build(saved(tmp_path, rows), metric, threads=2, memory=given_memory)
    assert ("byte a component" in index.levels) == (given_memory in ("fast", "2MB"))
    expected = all_ranked(metric)
    for k in (1, 10, 700, 9003):
        for batch in (1, 11):
            found = [index.search(queries[i : i + batch], k) for i in range(0, 11, batch)]
            np.testing.assert_array_equal(np.concatenate([f.ids for f in found]), expected.ids[:, :k])
            np.testing.assert_array_equal(np.concatenate([f.distances for f in found]), expected.distances[:, :k])
    if given_memory not in memory.NAMES:
        assert index.nbytes <= int(memory.as_memory(given_memory)), "and nothing was written later"


@pytest.mark.parametrize("metric", METRICS)
def test_lists_that_run_full_are_asked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    """Where memory is given, no codes are scanned and no file is read from its beginning to its end."""
    monkeypatch.setattr(searches, "LEAST_ROOM", 64)
    monkeypatch.setattr(searches, "LIST_BYTES", 0)
    rows, queries = falling(9003), falling(11, seed=1)
    index = ExactIndex.build(saved(tmp_path, rows), metric, threads=2, memory="2MB")
    where = RANDOM(2).random((11, 9003)) < 0.5
    found, some = index.search(queries, 100), index.search(queries, 100, where)
    assert found.certificate.path == some.certificate.path == ("plane",)
    np.testing.assert_array_equal(found.ids, definition.search(rows, queries, 100, metric).ids)
    for number, query in enumerate(queries):
        left = np.flatnonzero(where[number])
        expected = left[definition.search(rows[left], query[None], 100, metric).ids[0]]
        np.testing.assert_array_equal(some.ids[number], expected)


@pytest.mark.parametrize("given_memory", ["fast", "2MB"])
def test_ctrl_c_while_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_memory: str) -> None:
    """Nothing stays: no thread at work, no open file."""
    path, read, count = saved(tmp_path, falling(9003)), row_file.RowFile.read, list[int]()

    def stop(file: row_file.RowFile, first: int, last: int, like: np.ndarray) -> np.ndarray:
        count.append(first)
        if len(count) == 6:
            raise KeyboardInterrupt
        return read(file, first, last, like)

    monkeypatch.setattr(row_file.RowFile, "read", stop)
    with pytest.raises(KeyboardInterrupt):
        ExactIndex.build(path, threads=2, memory=given_memory)
    known = len(count)
    until(lambda: gc.collect() >= 0 and str(path) not in opened_files(), "the file is closed")
    assert len(count) == known


def opened_files() -> set[str]:
    """By this process."""
    found = set[str]()
    for one in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the folder itself
            found.add(os.readlink(f"/proc/self/fd/{one}"))
    return found


def test_what_is_written_is_what_rows_in_memory_have(tmp_path: Path) -> None:
    rows = falling(9003)
    here, there = ExactIndex(rows).wait(), ExactIndex.build(saved(tmp_path, rows))
    ours, theirs = (index._living.state.parts[0].segment.scanner.beside for index in (here, there))
    np.testing.assert_array_equal(ours.plane.blocks, theirs.plane.blocks)
    np.testing.assert_array_equal(ours.lines, theirs.lines)
    assert ours.plane.neighbors == theirs.plane.neighbors


@pytest.mark.parametrize(
    ("name", "dtype", "stays"),
    [
        ("rows.npy", "float64", True), ("rows.fbin", "float32", True), ("rows.f16bin", "float16", True),
        ("rows.u8bin", "uint8", True), ("rows.i8bin", "int8", True), ("rows.ibin", "int32", True), ("rows.fvecs", "float32", False),
        ("rows.npz", "float32", False), ("turned.npy", "float32", False), ("big.npy", ">f4", False),
    ],
)  # fmt: skip
def test_every_format(tmp_path: Path, name: str, dtype: str, stays: bool) -> None:
    """Those whose rows lie one after another stay; others are mapped, or read."""
    path, rows = tmp_path / name, falling(300, 17).astype(dtype)
    if path.suffix == ".fvecs":
        write_vecs(path, rows, "<f4")
    elif path.suffix == ".npz":
        np.savez(path, rows)
    elif path.suffix == ".npy":
        np.save(path, np.asfortranarray(rows) if name == "turned.npy" else rows)
    else:
        write_bin(path, rows, np.dtype(dtype).str)
    index = ExactIndex.build(path)
    assert (row_file.file_of(index._living.state.parts[0].segment.rows) is not None) == stays
    expected = definition.search(rows.astype(np.dtype(dtype).newbyteorder("=")), rows[:4].astype(float), 5, "l2")
    np.testing.assert_array_equal(index.search(rows[:4], 5).ids, expected.ids)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("given_memory", ["fast", "small", "1GiB"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_not_finite_far_behind(tmp_path: Path, metric: str, given_memory: str, number: float) -> None:
    rows = falling(9003)
    rows[8_999, 7] = number
    with pytest.raises(KnnscopeError, match=r"^rows: row 8,999 has (nan|inf) in component 7"):
        ExactIndex.build(saved(tmp_path, rows), metric, memory=given_memory)


@pytest.mark.parametrize("given_memory", ["fast", "small", "1MB"])
def test_a_plane_that_turns_out_to_be_of_no_use(tmp_path: Path, given_memory: str) -> None:
    """Too many rows are too long, which shows half way: byte codes alone are written then."""
    rows = falling(9003)
    rows[4000:4500:9] *= 3e4
    queries = falling(5, seed=1)
    index = ExactIndex.build(saved(tmp_path, rows), memory=given_memory)
    assert index.levels == "a byte a component"
    np.testing.assert_array_equal(index.search(queries, 7).ids, definition.search(rows, queries, 7, "l2").ids)
    if given_memory == "1MB":
        with pytest.raises(KnnscopeError, match=r"need 685,824 for a byte a component$"):
            ExactIndex.build(tmp_path / "rows.npy", memory="600KB")


def test_memory_that_is_too_little_says_what_is_needed(tmp_path: Path) -> None:
    path = saved(tmp_path, falling(9003))
    with pytest.raises(KnnscopeError) as told:
        ExactIndex.build(path, memory="9 kB")
    numbers = [int(word.replace(",", "")) for word in str(told.value).split() if word[0].isdecimal()]
    assert numbers[:3] == [9000, 9003, 64]
    both, alone = numbers[3], numbers[5]
    assert (both, alone) == tuple(ExactIndex.build(path, memory=name).nbytes for name in ("fast", "small"))
    assert "byte a component" in ExactIndex.build(path, memory=both).levels
    assert "byte a component" not in ExactIndex.build(path, memory=both - 1).levels
    with pytest.raises(KnnscopeError):
        ExactIndex.build(path, memory=alone - 1)


@pytest.mark.parametrize("given_memory", ["", "8 G", "-1", 0, -5, True, 2.5, "1e9", "9" * 30, None, "tiny"])
def test_what_is_no_memory(given_memory: object) -> None:
    with pytest.raises(KnnscopeError, match="a size such as '8GiB', was expected"):
        memory.as_memory(given_memory)


@pytest.mark.parametrize(
    ("given_memory", "told"),
    [("8GiB", 8 << 30), ("500 MB", 500_000_000), ("1.5kib", 1536), (7, 7), ("7", 7), ("0.5GB", 500_000_000)],
)
def test_memory_as_bytes(given_memory: str | int, told: int) -> None:
    assert memory.most_of(memory.as_memory(given_memory)) == told
    assert memory.is_memory(memory.as_memory(given_memory))


@pytest.mark.parametrize("given_memory", ["fast", "small", "2MB"])
def test_a_file_that_was_changed(tmp_path: Path, given_memory: str) -> None:
    rows = falling(9003)
    path = saved(tmp_path, rows)
    index = ExactIndex.build(path, memory=given_memory)
    said = r"rows.npy: the file was changed since it was opened: build the index again"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"1234")
    os.utime(path, ns=(0, 10**18))  # whatever the file system's clock
    for work in (
        lambda: index.search(rows[:1], 3),
        lambda: index.search(rows[:30], 9000),
        lambda: index.radius_search(rows[:2], 1.0),
        lambda: index.knn_graph(2),
    ):
        with pytest.raises(KnnscopeError, match=said):
            work()


@pytest.mark.parametrize("given_memory", ["fast", "small"])
def test_a_file_that_becomes_shorter_while_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_memory: str
) -> None:
    """After it was looked at, before it is read."""
    rows = falling(9003)
    path = saved(tmp_path, rows)
    index, check = ExactIndex.build(path, memory=given_memory), row_file.RowFile.check
    cut = list[bool]()

    def late(file: row_file.RowFile) -> None:
        check(file)
        if not cut:
            os.truncate(path, 3000)
            cut.append(True)

    monkeypatch.setattr(row_file.RowFile, "check", late)
    with pytest.raises(KnnscopeError, match="the file was changed since it was opened"):
        index.search(rows[8000:8004], 3)
    cut.clear()
    np.save(path, rows)
    index = ExactIndex.build(path, memory=given_memory)
    cut.clear()
    with pytest.raises(KnnscopeError, match=r"the file (was changed|has become shorter)"):
        index.search(rows[:2], 9003)


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = saved(tmp_path, falling(9003)), plane.directions_of

    def cut(*given: object) -> object:
        found = whole(*given)
        os.truncate(path, 100_000)
        return found

    monkeypatch.setattr(plane, "directions_of", cut)
    with pytest.raises(KnnscopeError, match=r"rows.npy: the file has become shorter: build the index again"):
        ExactIndex.build(path)


def test_a_file_that_is_written_to_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = saved(tmp_path, falling(9003)), plane.directions_of

    def touch(*given: object) -> object:
        found = whole(*given)
        os.utime(path, ns=(0, 10**18))
        return found

    monkeypatch.setattr(plane, "directions_of", touch)
    with pytest.raises(KnnscopeError, match="the file was changed"):
        ExactIndex.build(path)


def test_a_file_that_is_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its map and the file that rows are read from; by one of the same size, time, and first and last row."""
    rows = falling(9003)
    path, other = saved(tmp_path, rows), tmp_path / "other.npy"
    rows[1:-1] = rows[1:-1][::-1].copy()
    np.save(other, rows)
    for one in (path, other):
        os.utime(one, ns=(0, 10**18))
    whole = vector_files.load

    def replaced(spec: str) -> VectorDataset:
        found = whole(spec)
        other.rename(path)
        return found

    monkeypatch.setattr(vector_files, "load", replaced)
    with pytest.raises(KnnscopeError, match=r"rows.npy: the file was changed while it was opened: try again"):
        ExactIndex.build(path)


def test_what_is_no_file_of_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("1 2 3")
    with pytest.raises(KnnscopeError, match="the ending says the format"):
        ExactIndex.build(tmp_path / "rows.txt")
    with pytest.raises(KnnscopeError, match="no such file"):
        ExactIndex.build(tmp_path / "none.npy")
    with pytest.raises(KnnscopeError, match="processors"):
        ExactIndex.build(saved(tmp_path, falling(5)), device="cuda")
    with pytest.raises(KnnscopeError, match="metric"):
        ExactIndex.build(tmp_path / "rows.npy", "l1")


def test_rows_come_and_go_beside_a_file(tmp_path: Path) -> None:
    """New rows lie in memory; those of the file are never copied there."""
    rows, more = falling(9003), falling(9001, seed=3)
    index = ExactIndex.build(saved(tmp_path, rows), ids=np.arange(9003) * 2, threads=2)
    index.remove(np.arange(0, 3000, 2))
    index.add(more, ids=np.arange(9001) * 2 + 1)
    index.update([4000, 1], rows[:2])
    index.merge()
    assert [row_file.file_of(part.segment.rows) is not None for part in index._living.state.parts] == [True, False]
    np.testing.assert_array_equal(index.get([4002, 3, 4000]), np.stack([rows[2001], more[1], rows[0]]))
    queries, called = falling(9, seed=5), index.ids
    every = index.get(called)
    expected = definition.search(every, queries, len(every), "l2")
    order = np.lexsort((called[expected.ids], expected.distances), axis=1)[:, :8]
    found = index.search(queries, 8)
    np.testing.assert_array_equal(found.ids, np.take_along_axis(called[expected.ids], order, axis=1))
    graph = index.knn_graph(2)
    alone = index.search(every[:50], 3)
    for number, line in enumerate(alone.ids):
        assert graph.ids[number].tolist() == [one for one in line if one != called[number]][:2]


def test_a_file_can_be_saved_copied_and_pickled(tmp_path: Path) -> None:
    rows, queries = falling(9003), falling(3, seed=1)
    index = ExactIndex.build(saved(tmp_path, rows), memory="2MB", ids=[f"row {i:05d}" for i in range(9003)])
    expected = index.search(queries, 4).ids
    assert expected.tolist() == [
        [f"row {i:05d}" for i in line] for line in definition.search(rows, queries, 4, "l2").ids
    ]
    index.save(tmp_path / "saved")
    for other in (copy.copy(index), pickle.loads(pickle.dumps(index)), ExactIndex.load(tmp_path / "saved")):
        assert other.search(queries, 4).ids.tolist() == expected.tolist()
        assert other.nbytes == index.nbytes
        other.search(queries, 3000)
        assert other.nbytes == index.nbytes, "memory that was given stays given"
