"""Folders that were damaged, or made to do harm: an error of one line, or the right answer."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope import ExactIndex
from knnscope.certified.saved import changes, journal, manifest, sections
from knnscope.errors import KnnscopeError
from tests.certified.cpu.planes import planes_for_all

DIM = 8


class Sample(NamedTuple):
    """A folder, and what it answers."""

    folder: Path
    queries: np.ndarray
    ids: list[Any]
    answer: tuple[list[Any], list[Any]]


def answer(index: ExactIndex, queries: np.ndarray) -> tuple[list[Any], list[Any]]:
    found = index.search(queries, 7)
    return found.ids.tolist(), found.distances.tolist()


@pytest.fixture(scope="module", params=["numbers", "strings"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Two segments and an open one, rows that are gone, and a journal of all kinds of changes."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("sample") / "index"
    name = str if request.param == "strings" else int

    def rows(count: int) -> np.ndarray:
        return random.integers(-3, 4, (count, DIM)).astype(np.float32)

    index = ExactIndex(rows(3000), ids=[name(n) for n in range(3000)])  # so many that nothing is merged
    index.add(rows(300), ids=[name(n) for n in range(3000, 3300)])
    index.add(rows(5), ids=[name(n) for n in range(4000, 4005)])
    index.remove([name(7), name(3001)])
    index.save(folder)
    with ExactIndex.load(folder, writable=True) as writer:
        writer.add(rows(2), ids=[name(5000), name(5001)])
        writer.remove([name(1)])
        writer.update([name(2)], rows(1))
        queries = rows(5)
        return Sample(folder, queries, writer.ids.tolist(), answer(writer, queries))


def tried(sample: Sample, folder: Path, **how: Any) -> str | None:
    """The error of loading a folder; None where it answers as before."""
    try:
        found = ExactIndex.load(folder, **how)
    except KnnscopeError as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        return str(error)
    assert found.ids.tolist() == sample.ids
    assert answer(found, sample.queries) == sample.answer
    return None


def copied(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(sample.folder, tmp_path_factory.mktemp("copy") / "index"))


HARMS: dict[str, Callable[[bytearray, int, int], bytes]] = {
    "flip": lambda data, at, by: bytes(data[:at] + bytes([data[at] ^ (1 << by % 8)]) + data[at + 1 :]),
    "cut": lambda data, at, _: bytes(data[:at]),
    "zero": lambda data, at, by: bytes(data[:at] + bytes(min(by, len(data) - at)) + data[at + by :]),
    "grow": lambda data, _, by: bytes(data + bytes(by)),
    "repeat": lambda data, at, by: bytes(data[:at] + data[at : at + by] + data[at:]),
    "drop": lambda data, at, by: bytes(data[:at] + data[at + by :]),
}


@settings(max_examples=120)
@given(st.data())
def test_any_damage(sample: Sample, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = copied(sample, tmp_path_factory)
    names = sorted(path.name for path in folder.iterdir() if path.name != "lock")
    path = folder / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    early = data.draw(st.booleans())
    at = data.draw(st.integers(0, min(300, len(before) - 1) if early else len(before) - 1))
    after = HARMS[data.draw(st.sampled_from(sorted(HARMS)))](bytearray(before), at, data.draw(st.integers(1, 5000)))
    path.write_bytes(after)
    error = tried(sample, folder, mmap=data.draw(st.booleans()), verify=True)
    if after == before:
        assert error is None
    try:  # without all checksums: whatever it answers, it answers, or says that rows were changed
        answer(ExactIndex.load(folder), sample.queries)
    except KnnscopeError as error_:
        assert "\n" not in str(error_)


def test_files_that_are_missing_or_another_s(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    for path in sorted(sample.folder.iterdir()):
        if path.name == "lock":
            continue
        folder = copied(sample, tmp_path_factory)
        (folder / path.name).unlink()
        error = tried(sample, folder)
        assert error
        assert "no index here" in error or path.name in error
    folder = copied(sample, tmp_path_factory)
    one, other = folder / "segment-000001", folder / "segment-000002"
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)
    assert "not the one that the manifest names" in (tried(sample, folder) or "")


def test_links_and_pipes_are_not_followed(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("manifest", "segment-000001", "journal-000001"):
        folder = copied(sample, tmp_path_factory)
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")
        assert "a link, which is not followed" in (tried(sample, folder) or "")
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert "not a plain file" in (tried(sample, folder) or "")


def test_a_torn_last_record_is_dropped_only_if_it_was_not_acknowledged(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = (sample.folder / "journal-000001").read_bytes()
    folder = copied(sample, tmp_path_factory)
    path = folder / "journal-000001"
    for torn in (b"\x01", b"\0" * 24, b"\xff" * 100, whole[journal.BEGIN : journal.BEGIN + 60]):
        path.write_bytes(whole + torn)
        assert tried(sample, folder) is None
        with ExactIndex.load(folder, writable=True) as writer:
            assert writer.ids.tolist() == sample.ids
        assert path.read_bytes() == whole
    for short in (1, 8, 40, len(whole) - journal.BEGIN):
        path.write_bytes(whole[:-short])
        assert f"{path}: it ends at byte {len(whole) - short:,}, and was acknowledged up to {len(whole):,}" in (
            tried(sample, folder) or ""
        )
    for at in range(journal.BEGIN, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        error = tried(sample, folder)
        assert error is None or f"{path}: record" in error  # padding is no part of a record


def test_a_record_that_was_whole_and_not_acknowledged_is_kept(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The system went down between the record and its mark."""
    folder = copied(sample, tmp_path_factory)
    path = folder / "journal-000001"
    whole = path.read_bytes()
    path.write_bytes(whole[: journal.MARK_AT] + journal._mark(journal.BEGIN) + whole[journal.MARK_AT + 12 :])
    assert tried(sample, folder) is None


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.integers(-(2**70), 2**70), st.sampled_from([10**400, -(10**400)]), st.floats(),
    st.sampled_from(["", "whole numbers", "strings", "../../etc/passwd", "<f4", "cosine", "avx2", "two\nlines"]), st.just([]), st.just({}),
)  # fmt: skip
FIELDS: list[Any] = [10**400, -(10**400), 2**63, -1, 0, None, True, [], {}, "x", float("nan"), float("inf"), [10**309] * 8, [1e300] * 8,
    {str(n): n for n in range(8)}, [0, 2**47, 2**47, 2**47]]  # fmt: skip
"""In place of every field, one after another."""


def spots(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all parts of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(spot for key, one in inner for spot in spots(one, (*at, key)))]


def put(value: Any, at: tuple[Any, ...], leaf: Any) -> Any:
    if not at:
        return leaf
    value[at[0]] = put(value[at[0]], at[1:], leaf)
    return value


def reheaded(folder: Path, name: str, head: Any) -> None:
    """Give a file another head, with the right checksum; and the manifest that names it."""
    mark = reheaded_alone(folder / name, head)
    if name != "manifest":
        named = manifest.read(folder)
        entries = tuple(one._replace(mark=mark) if one.number == int(name[8:]) else one for one in named.entries)
        manifest.write(folder, named._replace(entries=entries))


def reheaded_alone(path: Path, head: Any) -> int:
    """Returns the file's mark. A head that is longer than its room goes over the first array."""
    with path.open("r+b") as file:
        _, _, length, _ = sections.FRONT.unpack(file.read(sections.FRONT.size))
        made = json.dumps(head).encode().ljust(length)
        mark = zlib.crc32(made)
        file.seek(0)
        file.write(
            sections.FRONT.pack(sections.MAGIC, sections.VERSION, len(made), mark).ljust(sections.HEAD_AT, b"\0")
        )
        file.write(made)
    return mark


def head_of(path: Path) -> Any:
    before = path.read_bytes()
    _, _, length, _ = sections.FRONT.unpack_from(before)
    return json.loads(before[sections.HEAD_AT : sections.HEAD_AT + length])


def asked(folder: Path, **how: Any) -> None:
    """Load, search and add: an answer, or one line."""
    try:
        found = ExactIndex.load(folder, threads=1, **how)
        found.search(np.zeros((2, found.shape[1])), min(5, len(found)))
        found.add(np.zeros((1, found.shape[1])), ids=None if found.ids.dtype.kind == "i" else ["new"])
    except KnnscopeError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400


@settings(max_examples=150)
@given(st.data())
def test_heads_with_right_checksums_that_say_anything(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = copied(sample, tmp_path_factory)
    name = data.draw(st.sampled_from(["manifest", "segment-000001", "segment-000003"]))
    head = head_of(folder / name)
    for _ in range(data.draw(st.integers(1, 2))):
        head = put(head, data.draw(st.sampled_from(spots(head))), data.draw(LEAVES))
    reheaded(folder, name, head)
    for verify in (True, False):
        asked(folder, verify=verify)


@pytest.mark.parametrize("name", ["manifest", "segment-000001"])
def test_every_field_of_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of an index with codes, a plane and lines, and rows that are gone."""
    planes_for_all(monkeypatch)
    index = ExactIndex(np.random.default_rng(0).standard_normal((200, 64)).astype(np.float32), threads=1)
    assert "half a byte" in index.levels
    index.remove([3])
    index.save(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / name, tmp_path / "manifest")}
    whole = head_of(tmp_path / name)
    some = [
        spot for spot in spots(whole)[1:] if len(spot) < 3 or spot[0] == "meta" or spot[1] in ("rows", "codes.lines")
    ]
    for spot in some:
        for leaf in FIELDS:
            reheaded(tmp_path, name, put(copy.deepcopy(whole), spot, leaf))
            try:
                asked(tmp_path)
            except Exception as error:
                raise AssertionError(f"{spot} is {str(leaf)[:60]}") from error
            for path, data in before.items():  # as another file: the index may still merge what it has mapped
                (tmp_path / "new").write_bytes(data)
                (tmp_path / "new").replace(path)


def test_arrays_that_overlap(tmp_path: Path) -> None:
    """A small file would take any memory."""
    sections.write(tmp_path / "x", "segment", {}, {"a": np.arange(3), "b": np.arange(3)})
    head = head_of(tmp_path / "x")
    size = (tmp_path / "x").stat().st_size
    for offset in (head["arrays"]["a"][2], head["arrays"]["b"][2] - sections.PAGE):  # or with the zeros behind it
        made = copy.deepcopy(head)
        made["arrays"]["b"][2] = offset
        reheaded_alone(tmp_path / "x", made)
        with pytest.raises(KnnscopeError, match=r"x: its head does not hold together \('a' and 'b' overlap\)"):
            sections.read(tmp_path / "x", "segment", mapped=False)
    assert (tmp_path / "x").stat().st_size == size


def test_arrays_that_nobody_asks_for_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file would take any memory."""
    ExactIndex(np.eye(8, dtype=np.float32)).save(tmp_path)
    for name in ("segment-000001", "manifest"):  # in this order: the manifest is written anew for the other
        path = tmp_path / name
        size, head = path.stat().st_size, head_of(path)
        head["arrays"]["left-7"] = ["|u1", [1 << 31], size, "00000000" * (1 << 7)]
        head["size"] = size + (1 << 31) + sections.BEYOND
        reheaded(tmp_path, name, head)
        os.truncate(path, head["size"])
    room, made = sections._room, list[int]()
    monkeypatch.setattr(sections, "_room", lambda dtype, shape: made.append(math.prod(shape)) or room(dtype, shape))
    for mmap in (True, False):
        assert ExactIndex.load(tmp_path, mmap=mmap, verify=not mmap).search(np.eye(8), 1).ids.ravel().tolist() == [
            *range(8)
        ]
    assert made
    assert max(made) < 1 << 20


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ExactIndex(np.eye(8, dtype=np.float32)).save(tmp_path)

    def none(*_: Any) -> None:
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(sections, "_room", none)
    with pytest.raises(KnnscopeError, match="there is not enough memory for what it holds"):
        ExactIndex.load(tmp_path, mmap=False)


@settings(max_examples=150)
@given(st.binary(max_size=200), st.booleans(), st.integers(0, 40))
def test_records_of_any_bytes(record: bytes, is_near: bool, at: int) -> None:
    if is_near:
        change = changes.Change(changes.ADD, np.arange(3), np.ones((3, DIM), dtype=np.float32))
        whole = b"".join(bytes(piece) for piece in changes.written(change))
        record = whole[:at] + record[:8] + whole[at + len(record[:8]) :]
    try:
        found = changes.read(record, DIM)
    except changes.UnfitError:
        return
    assert found.rows is None or found.rows.shape == (len(found.ids), DIM)


@pytest.mark.parametrize("kind", ["random", "low", "high", "nan"])
@pytest.mark.parametrize("memory", ["fast", "small"])
def test_kernels_read_nothing_beyond_codes_whatever_they_say(tmp_path: Path, memory: str, kind: str) -> None:
    """Lying codes give wrong answers, or an error; they crash nothing."""
    random = np.random.default_rng(5)
    rows = (random.standard_normal((9001, 96)) * np.linspace(3, 0.1, 96)).astype(np.float32)
    ExactIndex(rows, memory=memory).save(tmp_path)
    path = tmp_path / "segment-000001"
    found = sections.read(path, "segment", mapped=False)
    arrays = dict(found.arrays)
    for name, array in arrays.items():
        if (
            name.startswith("codes.")
            and array.size
            and name not in ("codes.plane.matrix", "codes.centre", "codes.plane.centre", "codes.factors")
        ):
            fill = {"low": 0x80, "high": 0x7F, "nan": 0xFF}.get(kind)
            raw = (
                random.integers(0, 256, array.nbytes, dtype=np.uint8)
                if fill is None
                else np.full(array.nbytes, fill, np.uint8)
            )
            arrays[name] = raw.view(array.dtype).reshape(array.shape)
    mark = sections.write(path, "segment", found.meta, arrays)
    named = manifest.read(tmp_path)
    manifest.write(tmp_path, named._replace(entries=(named.entries[0]._replace(mark=mark),)))
    index = ExactIndex.load(tmp_path, verify=True)
    assert "half a byte" in index.levels
    for count, k in ((1, 1), (1, 10), (3, 10), (20, 10), (150, 10), (2, 1500), (2, 9000)):
        try:
            index.search(rows[:count], k)
        except KnnscopeError as error:
            assert "were changed" in str(error)


def test_a_reader_goes_again_when_the_folder_changes_meanwhile(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read, seen = copied(sample, tmp_path_factory), manifest.read, []

    def and_then_it_is_saved(of: Path) -> manifest.Manifest:
        found = read(of)
        seen.append(found)
        if len(seen) < 3:
            with monkeypatch.context() as patch:
                patch.setattr(manifest, "read", read)
                with ExactIndex.load(of, writable=True) as writer:
                    writer.merge()
                    writer.update(writer.ids[:1].tolist(), writer.get(writer.ids[:1].tolist()))
                    writer.save()
        return found

    monkeypatch.setattr(manifest, "read", and_then_it_is_saved)
    index = ExactIndex.load(folder)
    assert len(seen) == 3
    assert sorted(index.ids.tolist()) == sorted(sample.ids)
    assert answer(index, sample.queries) == sample.answer
    monkeypatch.setattr(manifest, "read", lambda of: seen.clear() or and_then_it_is_saved(of))
    with pytest.raises(KnnscopeError, match="faster than it is read"):
        ExactIndex.load(folder)


def test_names_of_arrays_are_shown_in_one_line(tmp_path: Path) -> None:
    sections.write(tmp_path / "x", "segment", {}, {"two\nlines": np.arange(3)})
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[:4096] + b"\x09" + data[4097:])
    with pytest.raises(KnnscopeError, match=r"x: the checksum of 'two\\nlines' is wrong") as error:
        sections.read(tmp_path / "x", "segment")
    assert "\n" not in str(error.value)


def test_the_format_stays_as_it_is(tmp_path: Path) -> None:
    """Folders of earlier versions are opened: where this fails, sections.VERSION or journal.VERSION has to be another."""
    arrays = {"rows": np.arange(6, dtype=np.float32).reshape(2, 3), "ids": np.empty(0, dtype=np.int64)}
    sections.write(tmp_path / "x", "segment", {"rows": 2}, arrays)
    assert zlib.crc32((tmp_path / "x").read_bytes()) == 0xED0D3D92
    change = changes.Change(changes.ADD, np.arange(2), arrays["rows"])
    made = journal.Journal.create(tmp_path, 1, "0f" * 16)
    made.append(change)
    assert zlib.crc32(made.path.read_bytes()) == 0x32B55862
