"""An index that was saved and loaded answers as before, and changes outlive it; test_copies.py has pickles, copies and forks."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope import ExactIndex
from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu import search as searches
from knnscope.certified.saved import folder as folders
from knnscope.certified.saved import journal, sections, segments
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.cpu.planes import planes_for_all
from tests.certified.saved import killed
from tests.certified.saved.made import check_same, counted, falling, same, some

ISAS = dispatch.available()


@settings(max_examples=25)
@given(
    st.sampled_from(definition.METRICS),
    st.sampled_from(["float64", "float32", "float16", "int8", "uint8", "int32"]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 400),
)
def test_what_was_saved_is_what_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, metric: str, dtype: str, is_text: bool, mmap: bool, count: int
) -> None:
    folder = tmp_path_factory.mktemp("index") / "new"
    rows = np.abs(some(count, dtype="int8", seed=count)).astype(dtype)
    ids = [f"é{n}" if n % 2 else f"{n}" for n in range(count)] if is_text else np.arange(count)[::-1] * 3
    index = ExactIndex(rows, metric, ids=ids)
    more = rows[:5]
    index.add(more, ids=[f"new {n}" for n in range(len(more))] if is_text else None)
    if count > 3:
        index.remove(index.ids[[0, 2]].tolist())
    index.save(folder)
    loaded = ExactIndex.load(folder, mmap=mmap, verify=True)
    check_same(index, loaded, rows[: min(count, 4)], k=min(10, len(index)))
    np.testing.assert_array_equal(index.get(index.ids.tolist()), loaded.get(index.ids.tolist()))
    assert loaded.get(loaded.ids[:1].tolist()).dtype == dtype
    assert loaded.metric == metric
    if not is_text:
        assert index.add(rows[:1]).tolist() == loaded.add(rows[:1]).tolist()  # removed ids are not given again


def test_bfloat16(tmp_path: Path) -> None:
    bits = (some(300).view(np.int32) >> 16).astype(np.int16)
    index = ExactIndex(dim=12)
    index._living.begin(bits, segments.Numbers(np.empty(0, dtype=np.int64), 300))
    index.add(some(4, seed=3))
    index.save(tmp_path / "index")
    with ExactIndex.load(tmp_path / "index", writable=True) as loaded:
        loaded.add(some(3, seed=4))
    index.add(some(3, seed=4))
    check_same(index, ExactIndex.load(tmp_path / "index"), some(5, seed=5))


@pytest.mark.parametrize("memory", ["fast", "small"])
def test_codes_are_taken_as_they_were_written(tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = falling(9000)
    index = ExactIndex(rows, memory=memory)
    index.save(tmp_path)
    built = counted(monkeypatch)
    for mmap in (True, False):
        loaded = ExactIndex.load(tmp_path, mmap=mmap)
        assert loaded.levels == index.levels
        assert "half a byte" in loaded.levels
        for k in (1, 10, 500):
            for queries in (rows[:1], rows[:3], rows[:40]):
                assert same(index.search(queries, k), loaded.search(queries, k))
    assert not built


@pytest.mark.skipif(len(ISAS) < 2, reason="one instruction set")
def test_codes_for_another_processor_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = falling(9000)
    index = ExactIndex(rows, device=f"cpu:{ISAS[0]}")
    index.save(tmp_path)
    capsys.readouterr()
    built = counted(monkeypatch)
    loaded = ExactIndex.load(tmp_path, device=f"cpu:{ISAS[-1]}")
    assert built == [9000]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "codes of 9,000 rows are written again, since those here are for " in said
    check_same(index, loaded, rows[:5])


def test_codes_of_another_version_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ExactIndex(some(1000))
    index.save(tmp_path)
    monkeypatch.setattr(segments.saved, "LAYOUT", segments.saved.LAYOUT + 1)
    check_same(index, ExactIndex.load(tmp_path), some(5))
    assert "those here are of another version" in capsys.readouterr().err


def test_changes_are_there_when_their_call_returns(tmp_path: Path) -> None:
    ExactIndex(some(600)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    in_memory = ExactIndex(some(600))
    for one in (index, in_memory):
        one.add(some(3, seed=1))
        one.remove([0, 600])
        one.update([5], some(1, seed=2))
        one.add(some(400, seed=3), ids=range(1000, 1400))
        one.add(some(0))
        one.remove([])
    check_same(in_memory, ExactIndex.load(tmp_path), some(5))
    assert ExactIndex.load(tmp_path).add(some(1)).tolist() == [1400]
    index.save()
    assert sorted(path.name for path in tmp_path.glob("journal*")) == ["journal-000002"]
    check_same(in_memory, ExactIndex.load(tmp_path, verify=True), some(5))
    index.save()  # nothing has changed
    assert sorted(path.name for path in tmp_path.glob("journal*")) == ["journal-000002"]
    index.close()
    with pytest.raises(KnnscopeError, match="closed"):
        index.add(some(1))
    check_same(in_memory, index, some(5))


def test_segments_are_written_when_the_journal_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "JOURNALLED", 10_000)
    ExactIndex(some(600)).save(tmp_path)
    in_memory = ExactIndex(some(600))
    with ExactIndex.load(tmp_path, writable=True) as index:
        for seed in range(60):
            for one in (index, in_memory):
                one.add(some(20, seed=seed))
                one.remove([seed, 600 + seed])
            if seed % 9 == 0:
                check_same(in_memory, ExactIndex.load(tmp_path), some(5))
    check_same(in_memory, ExactIndex.load(tmp_path, verify=True), some(5))
    assert max(int(path.name[8:]) for path in tmp_path.glob("journal*")) > 2
    assert sum(path.stat().st_size for path in tmp_path.glob("journal*")) < 40_000


def test_an_index_that_begins_empty(tmp_path: Path) -> None:
    ExactIndex(dim=12, metric="cosine").save(tmp_path / "index")
    with ExactIndex.load(tmp_path / "index", writable=True) as index:
        index.add(some(3, dtype="float16"), ids=["a", "b", "c"])
    loaded = ExactIndex.load(tmp_path / "index")
    assert loaded.ids.tolist() == ["a", "b", "c"]
    assert loaded.get("a").dtype == np.float16
    with ExactIndex.load(tmp_path / "index", writable=True) as index:
        index.remove(["a", "b", "c"])
        index.save()
    assert len(ExactIndex.load(tmp_path / "index")) == 0


def test_the_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    ExactIndex(some(50)).save(tmp_path)
    first = ExactIndex.load(tmp_path, writable=True)
    for second in (lambda: ExactIndex.load(tmp_path, writable=True), lambda: ExactIndex(some(9)).save(tmp_path)):
        with pytest.raises(KnnscopeError, match="another index writes here") as error:
            second()
        assert "\n" not in str(error.value)
    assert len(ExactIndex.load(tmp_path)) == 50  # readers are not
    first.close()
    ExactIndex(some(9)).save(tmp_path)  # takes the place of the other
    assert len(ExactIndex.load(tmp_path, verify=True)) == 9
    assert len(first) == 50
    assert same(first.search(some(3), 5), ExactIndex(some(50)).search(some(3), 5))


def test_a_lock_ends_with_its_index(tmp_path: Path) -> None:
    ExactIndex(some(50)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    del index
    ExactIndex.load(tmp_path, writable=True).close()


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(KnnscopeError, match=r"not an index, and not empty \('thesis.tex' is there\)"):
        ExactIndex(some(9)).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(KnnscopeError, match="no index here"):
        ExactIndex.load(tmp_path)
    with pytest.raises(KnnscopeError, match="no index here"):
        ExactIndex.load(tmp_path / "nowhere")
    with pytest.raises(KnnscopeError, match="without a folder"):
        ExactIndex(some(9)).save()


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ExactIndex(some(50)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    index.add(some(2, seed=1))
    write = journal.write_at

    def full(handle: int, data: Any, offset: int) -> None:
        if offset >= journal.BEGIN:
            write(handle, memoryview(data)[:7], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_at", full)
        for change in (lambda: index.add(some(2)), lambda: index.remove([3]), lambda: index.update([3], some(1))):
            with pytest.raises(KnnscopeError, match="the disk is full"):
                change()
    assert len(index) == len(ExactIndex.load(tmp_path)) == 52
    index.add(some(2, seed=2))
    check_same(index, ExactIndex.load(tmp_path), some(3))


def test_a_change_that_was_interrupted_ends_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on disk or not, and what follows could not say."""
    ExactIndex(some(50)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fdatasync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.add(some(2))
    with pytest.raises(KnnscopeError, match="may be there or not"):
        index.remove([1])
    assert len(index) == 50
    index.close()
    assert len(ExactIndex.load(tmp_path)) in (50, 52)


def test_readers_see_whole_states_while_another_process_writes(tmp_path: Path) -> None:
    """Each change of the writer adds 7 rows and removes 7: a reader that saw half of one would count other than a multiple of 7."""
    ExactIndex(some(70)).save(tmp_path)
    code = (
        "import sys; import numpy as np; from knnscope import ExactIndex\n"
        "from knnscope.certified.saved import folder as f; f.JOURNALLED = 5000\n"
        "i = ExactIndex.load(sys.argv[1], writable=True); print('ready', flush=True)\n"
        "r = np.random.default_rng(0)\n"
        "while True:\n"
        "    i.add(r.integers(-3, 4, (7, 12)).astype('float32')); i.add(r.integers(-3, 4, (7, 12)).astype('float32')); i.remove(i.ids[:7])\n"
        "    if r.random() < 0.2: i.merge(); i.save()\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout
        writer.stdout.readline()
        sizes = set()
        for number in range(60):
            found = ExactIndex.load(tmp_path, mmap=number % 2 == 0)
            sizes.add(len(found))
            assert len(found) % 7 == 0
            queries = some(2, seed=number)
            expected = definition.search(found.get(found.ids.tolist()).astype(np.float64), queries, 5, "l2")
            answer = found.search(queries, 5)
            assert (expected.distances == answer.distances).all()
            assert (found.ids[expected.ids] == answer.ids).all()
        assert len(sizes) > 5
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seen = killed.kill(tmp_path / "index", 8, seed=1)
    assert seen["acknowledged"] > 8
    assert seen["journals"] > 1


@pytest.mark.slow
def test_kill_9_at_200_moments(tmp_path: Path) -> None:
    seen = killed.kill(tmp_path / "index", 200, seed=100)
    assert seen["acknowledged"] > 200


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of errors is for it."""


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("written", [0, 1])
def test_killed_in_the_midst_of_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, is_new: bool
) -> None:
    """Before a segment is written, and before the manifest is: the folder holds what it held, and can be saved to again."""
    before, after = ExactIndex(some(30)), ExactIndex(some(400, seed=1))
    if not is_new:
        before.save(tmp_path)
    calls, write = list[Any](), sections.write

    def dies(*given: Any) -> int:
        calls.append(given)
        if len(calls) > written:
            raise KilledError
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sections, "write", dies)
        with pytest.raises(KilledError):
            after.save(tmp_path)
    if is_new:
        with pytest.raises(KnnscopeError, match="no index here"):
            ExactIndex.load(tmp_path)
    else:
        check_same(before, ExactIndex.load(tmp_path, verify=True), some(3))
        ExactIndex.load(tmp_path, writable=True).close()
    after.save(tmp_path)
    check_same(after, ExactIndex.load(tmp_path, verify=True), some(3))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("memory", ["fast", "small"])
def test_an_index_with_a_plane_outlives_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    """Searched by several threads, and by way of a pickle."""
    planes_for_all(monkeypatch)
    monkeypatch.setattr(searches, "FEWEST_BLOCKS", 1)
    rows = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    index = ExactIndex(rows, threads=2, memory=memory).wait()
    assert "half a byte" in index.levels
    index.save(tmp_path / "index")
    for other in (ExactIndex.load(tmp_path / "index", threads=2), pickle.loads(pickle.dumps(index))):
        other.wait()
        np.testing.assert_array_equal(other.search(rows[:3] + 1, 5).ids, index.search(rows[:3] + 1, 5).ids)
