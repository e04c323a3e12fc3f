"""Traces that nobody should write: reading one says what is wrong with it, or gives a trace that is sound."""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.trace import database, nesting, reader
from knnscope.trace.columns import LARGEST
from knnscope.trace.explain import explain
from knnscope.trace.model import Calls, Copies, Kernels, Ranges, Trace
from tests.trace import mutate

KERNEL, MEMCPY, RUNTIME = reader.KERNEL, reader.MEMCPY, reader.RUNTIME
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
MUTATIONS = int(os.environ.get("KNNSCOPE_MUTATIONS", "500"))
Write = Callable[[bytes], Path]


@pytest.fixture(scope="session")
def seed() -> bytes:
    return mutate.small()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def at(data: bytes) -> Path:
        path = tmp_path / "trace.sqlite"
        path.write_bytes(data)
        return path

    return at


def sound(trace: Trace) -> None:
    """What every trace promises, whatever it was read from."""
    for events in (trace.kernels, trace.copies, trace.calls, trace.ranges):
        columns = {name: getattr(events, name) for name in events.__dataclass_fields__}
        for name, column in columns.items():
            assert column.shape == (len(events),), f"{type(events).__name__}.{name}"
            assert column.dtype.kind in "ib", f"{type(events).__name__}.{name} is {column.dtype}"
        assert (np.diff(events.start) >= 0).all()
        assert (events.start >= 0).all()
        assert (events.end >= events.start).all()
        assert (events.duration < reader.LONGEST).all()
        assert (events.name >= 0).all()
        assert (events.name < len(trace.names)).all()
    for events in (trace.kernels, trace.copies):
        assert (events.call >= -1).all()
        assert (events.call < len(trace.calls)).all()
        assert (events.lane >= 0).all()
        assert (events.lane < len(trace.lanes)).all()
    assert (trace.copies.nbytes >= 0).all()
    assert (trace.copies.nbytes <= LARGEST).all()
    assert (trace.ranges.depth >= 0).all()
    low, high = trace.span
    assert 0 <= low <= high
    assert all(isinstance(name, str) and len(name) <= reader.NAME for name in trace.names)
    assert len(set(trace.names)) == len(trace.names)
    assert np.isfinite(trace.gpu.bandwidth)
    assert trace.gpu.name
    assert trace.recorder


def explained(trace: Trace) -> None:
    """Whatever was read can be explained, and no finding saves more than its phase takes."""
    for finding in explain(trace).findings:
        assert 0 < finding.share <= 1
        assert finding.sql


def survive(path: Path) -> Trace | None:
    """Read it: the trace, or nothing where it was refused; the file and its folder stay as they are."""
    before, beside = hashlib.sha256(path.read_bytes()).digest(), sorted(os.listdir(path.parent))
    trace = None
    try:
        trace = reader.read(path)
    except KnnscopeError as error:
        assert str(path) in str(error)
    else:
        sound(trace)
        if before[0] % 32 == 0:  # some of the thousands
            explained(trace)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert sorted(os.listdir(path.parent)) == beside
    return trace


def accepted(path: Path) -> Trace:
    trace = survive(path)
    assert trace is not None, "this trace has a part that can be read"
    return trace


def test_the_seed_is_a_whole_trace(seed: bytes, write: Write) -> None:
    trace = accepted(write(seed))
    assert [len(e) for e in (trace.kernels, trace.copies, trace.calls, trace.ranges)] == [100, 100, 100, 99]
    assert all("have no launch call" in note for note in trace.notes), "the first 100 calls launch nothing"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"SQLite format 3", "no SQLite database"),
        (b"PK\x03\x04 a report", "no SQLite database"),
        (b"SQLite format 3\x00", "without any table|damaged"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "damaged"),
    ],
)
def test_no_databases(write: Write, data: bytes, message: str) -> None:
    path = write(data)
    assert survive(path) is None
    with pytest.raises(KnnscopeError, match=message):
        reader.read(path)


def test_no_files(tmp_path: Path, seed: bytes) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent.sqlite", "pipe", "."):
        with pytest.raises(KnnscopeError, match=r"expected"):
            reader.read(tmp_path / name)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff?#%41 \n.sqlite")
    Path(odd).write_bytes(seed)
    assert len(reader.read(odd).kernels) == 100


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_cut_off(seed: bytes, write: Write, share: float) -> None:
    survive(write(seed[: int(len(seed) * share)]))


def test_a_database_without_a_schema(write: Write) -> None:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE TABLE people (name TEXT)")
    data = base.serialize()
    base.close()
    with pytest.raises(KnnscopeError, match="without any table of a trace"):
        reader.read(write(data))


def test_every_page_corrupted_in_turn(seed: bytes, write: Write) -> None:
    size = mutate.page_size(seed)
    for page in range(1, len(seed) // size):
        survive(write(seed[: page * size] + b"\xa5" * size + seed[(page + 1) * size :]))


def test_views_are_not_followed(seed: bytes, write: Write) -> None:
    views = [
        f"CREATE VIEW {KERNEL} AS {ENDLESS} SELECT i AS start, i + 1 AS end, 1 AS shortName FROM n",
        f"CREATE VIEW {MEMCPY} AS SELECT start, end, 4 AS bytes FROM {RUNTIME}",
    ]
    trace = accepted(write(mutate.statements(seed, f"DROP TABLE {KERNEL}", f"DROP TABLE {MEMCPY}", *views)))
    assert len(trace.kernels) == len(trace.copies) == 0
    assert f"no kernels (no table {KERNEL})" in trace.lacks
    assert len(trace.calls) == 100


def test_views_that_say_they_are_tables(seed: bytes, write: Write) -> None:
    view = f"CREATE VIEW {KERNEL} AS {ENDLESS} SELECT i AS start, i + 1 AS end, 1 AS shortName FROM n"
    data = mutate.statements(
        seed,
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = ? WHERE name = '{KERNEL}'",
        values=(view,),
    )
    trace = survive(write(data))
    assert trace is None or not len(trace.kernels)


def test_virtual_tables_are_not_read(seed: bytes, write: Write) -> None:
    data = mutate.statements(
        seed,
        f"DROP TABLE {KERNEL}",
        f"CREATE VIRTUAL TABLE {KERNEL} USING fts5(start, end, shortName)",
        f"INSERT INTO {KERNEL} VALUES (1, 2, 3)",
    )
    trace = accepted(write(data))
    assert len(trace.kernels) == 0


def test_generated_columns_are_not_computed(seed: bytes, write: Write) -> None:
    # SQLite computes them when a row is written, too: the schema is changed afterwards
    data = mutate.statements(
        seed,
        "DROP TABLE StringIds",
        "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, filler)",
        f"INSERT INTO StringIds SELECT rowid, NULL FROM {KERNEL}",
    )
    data = mutate.schema(data, "filler", "value AS (printf('%900000000d', id))")
    trace = accepted(write(data))
    assert {trace.names[i] for i in trace.kernels.name} == {"unnamed kernel"}


def test_a_tree_that_leads_back_into_itself_ends(write: Write) -> None:
    """A root whose children are all one page, whose children are all one page: 400 to the power of 3 rows in 20 KB."""
    base = sqlite3.connect(":memory:")
    base.execute("PRAGMA page_size = 4096")
    base.execute(f"CREATE TABLE {KERNEL} (start INTEGER, end INTEGER)")
    base.execute(f"INSERT INTO {KERNEL} VALUES (1, 2)")
    base.commit()
    head = bytearray(base.serialize())
    base.close()
    leaf = bytes(head[4096:8192])

    def inner(child: int) -> bytes:
        count = 400
        pointers = b"".join((4096 - 5 * (i + 1)).to_bytes(2, "big") for i in range(count))
        top = b"\x05\x00\x00" + count.to_bytes(2, "big") + (4096 - 5 * count).to_bytes(2, "big") + b"\x00"
        page = top + child.to_bytes(4, "big") + pointers
        return page + bytes(4096 - len(page) - 5 * count) + (child.to_bytes(4, "big") + b"\x01") * count

    head[28:32] = (5).to_bytes(4, "big")
    data = bytes(head[:4096]) + inner(3) + inner(4) + inner(5) + leaf
    path = write(data)
    looped = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert len(looped.execute(f"SELECT start FROM {KERNEL} LIMIT 200000").fetchall()) == 200_000, "SQLite follows it"
    looped.close()
    with pytest.raises(KnnscopeError, match=r"more rows|interrupted"):
        reader.read(path)


COLUMNS = mutate.columns_of(mutate.small(1))


@pytest.mark.parametrize("value", mutate.EDGES, ids=lambda value: repr(value)[:20])
def test_any_value_in_every_column(seed: bytes, write: Write, value: object) -> None:
    for table in mutate.TABLES:
        names = [name for where, name in COLUMNS if where == table]
        for some in (names, *([name] for name in names)):
            chosen = ", ".join(f"{name} = ?1" for name in some)
            accepted(write(mutate.untyped(seed, table, f"UPDATE {table} SET {chosen}", values=(value,))))


def test_columns_that_are_not_there(seed: bytes, write: Write) -> None:
    for table, column in COLUMNS:
        trace = accepted(write(mutate.untyped(seed, table, f"ALTER TABLE {table} DROP COLUMN {column}")))
        if (table, column) == (KERNEL, "start"):
            assert trace.lacks == (f"no kernels ({KERNEL} has no column start)",)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 0), (10, 9), (2**63 - 1, 2**63 - 1), (0, 2**63 - 1), (-(2**63), 0), (5, "no"), ("1", "2"), (0, 2**60)],
)
def test_absurd_times_are_left_out_and_told_of(seed: bytes, write: Write, start: object, end: object) -> None:
    for table in (KERNEL, MEMCPY, RUNTIME, "NVTX_EVENTS"):
        update = f"UPDATE {table} SET start = ?, end = ? WHERE rowid = 7"
        trace = accepted(write(mutate.untyped(seed, table, update, values=(start, end))))
        count = 99 if table == "NVTX_EVENTS" else 100
        assert (
            f"{table}: 1 of {count} rows have impossible times (none, or the end before the start) and are left out"
            in trace.notes
        )


def test_what_began_before_the_recording_is_cut_and_an_open_range_lasts_to_the_end(seed: bytes, write: Write) -> None:
    for table in (KERNEL, MEMCPY, RUNTIME, "NVTX_EVENTS"):
        trace = accepted(write(mutate.untyped(seed, table, f"UPDATE {table} SET start = -5, end = 10 WHERE rowid = 7")))
        assert not any("impossible" in note for note in trace.notes)
        assert trace.span[0] == 0
    trace = accepted(write(mutate.untyped(seed, "NVTX_EVENTS", "UPDATE NVTX_EVENTS SET end = NULL WHERE rowid = 7")))
    assert not any("impossible" in note for note in trace.notes)
    assert trace.ranges.end.max() == trace.span[1]


def test_strings_that_dangle_or_lead_to_numbers(seed: bytes, write: Write) -> None:
    data = mutate.statements(seed, "DROP TABLE StringIds", "CREATE TABLE StringIds (id, value)")
    data = mutate.statements(
        data,
        "INSERT INTO StringIds SELECT shortName, shortName FROM CUPTI_ACTIVITY_KIND_KERNEL",
        "UPDATE NVTX_EVENTS SET textId = 2, text = NULL",
    )
    trace = accepted(write(data))
    assert {trace.names[i] for i in trace.kernels.name} == {"unnamed kernel"}
    assert {trace.names[i] for i in trace.calls.name} == {"unnamed call"}
    assert {trace.names[i] for i in trace.ranges.name} == {"unnamed range"}


@pytest.mark.parametrize(
    "name",
    ["'; DROP TABLE StringIds; --", "<script>alert(1)</script>", "\x1b]0;title\x07\r\n", "\x00", "m" * 1_000_000],
)
def test_names_are_only_names(seed: bytes, write: Write, name: str) -> None:
    data = mutate.statements(seed, "UPDATE StringIds SET value = ?", values=(name,))
    data = mutate.statements(data, "UPDATE NVTX_EVENTS SET text = ?", values=(name,))
    data = mutate.statements(data, "UPDATE TARGET_INFO_GPU SET name = ?", values=(name,))
    trace = accepted(write(data))
    cut = name[:512].split("\0")[0]  # SQLite's substr ends there
    assert {trace.names[i] for i in trace.kernels.name} == {cut or "unnamed kernel"}
    assert {trace.names[i] for i in trace.ranges.name} == {cut or "unnamed range"}


def test_too_many_names_are_bounded(seed: bytes, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mutate.statements(seed, "UPDATE NVTX_EVENTS SET text = 'range ' || rowid")
    for bound, value in (("NAMES", 20), ("TEXT", 300)):
        with monkeypatch.context() as patch:
            patch.setattr(reader, bound, value)
            trace = accepted(write(data))
        assert len(trace.names) <= 40, "of more than 130; our own words come on top"
        assert "range #" in trace.names, "what differs only in its numbers has one name from there on"
        assert any(note.startswith("StringIds: only the first") for note in trace.notes)


def test_ranges_that_overlap_without_nesting() -> None:
    start, end = np.array([0, 1, 5, 12, 12, 30]), np.array([10, 20, 7, 13, 40, 31])
    one = np.zeros(6, dtype=np.int64)
    # [1, 20) is not inside [0, 10), which is over when [12, 13) begins; [12, 40) encloses that and [30, 31)
    assert nesting.depth_of(start, end, one).tolist() == [0, 0, 2, 2, 0, 1]
    assert nesting.depth_of(start, end, np.arange(6)).tolist() == [0] * 6


def test_depth_agrees_with_its_definition() -> None:
    chance = np.random.default_rng(3)
    for _ in range(200):
        count = int(chance.integers(1, 40))
        start = np.sort(chance.integers(0, 60, count))
        end = start + chance.integers(0, 30, count)
        thread = chance.integers(0, 3, count)
        order = sorted(range(count), key=lambda i: (start[i], -end[i]))
        expected = [0] * count
        for at, i in enumerate(order):
            expected[i] = sum(thread[j] == thread[i] and end[j] >= end[i] and end[j] > start[i] for j in order[:at])
        assert nesting.depth_of(start, end, thread).tolist() == expected


def test_a_thread_for_every_call_takes_no_square_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[int] = []
    inner = nesting._nest
    monkeypatch.setattr(
        nesting, "_nest", lambda start, end, depth: handed.append(len(start)) or inner(start, end, depth)
    )
    start = np.arange(200_000)
    assert not nesting.depth_of(start, start + 1, start * 7).any()
    assert handed == []
    assert not nesting.depth_of(start, start + 1, start // 2).any()
    assert handed == [2] * 100_000, "each is looked at once, beside those of its thread"


def test_very_many_columns(seed: bytes, write: Write) -> None:
    wide = ", ".join(f"column{i} INTEGER" for i in range(996))
    data = mutate.statements(
        seed, f"CREATE TABLE wide (start INTEGER, end INTEGER, shortName INTEGER, deviceId INTEGER, {wide})",
        f"INSERT INTO wide (start, end, shortName, deviceId) SELECT start, end, shortName, deviceId FROM {KERNEL}",
        f"DROP TABLE {KERNEL}", f"ALTER TABLE wide RENAME TO {KERNEL}",
    )  # fmt: skip
    assert len(accepted(write(data)).kernels) == 100


def test_wide_correlation_ids_do_not_meet(seed: bytes, write: Write) -> None:
    """Two ids that agree in their lower half are two ids."""
    data = mutate.statements(
        seed, f"UPDATE {KERNEL} SET correlationId = 7 + (1 << 40)", f"UPDATE {RUNTIME} SET correlationId = 7"
    )
    trace = accepted(write(data))
    assert (trace.kernels.call == -1).all()


def test_sizes_of_no_memory_count_as_nothing(seed: bytes, write: Write) -> None:
    trace = accepted(write(mutate.statements(seed, f"UPDATE {MEMCPY} SET bytes = 9223372036854775807 - rowid")))
    assert int(trace.copies.nbytes.sum()) == 0


def test_empty_tables(seed: bytes, write: Write) -> None:
    trace = accepted(write(mutate.statements(seed, *(f"DELETE FROM {table}" for table in mutate.TABLES))))
    assert trace.span == (0, 0)
    assert {type(e) for e in (trace.kernels, trace.copies, trace.calls, trace.ranges)} == {
        Kernels,
        Copies,
        Calls,
        Ranges,
    }


def test_a_row_limit_is_told(seed: bytes, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ROWS", 99)
    assert survive(write(seed)) is None


def test_the_check_itself_can_fail(seed: bytes, write: Write) -> None:
    trace = reader.read(write(seed))
    trace.kernels.end[3] = trace.kernels.start[3] - 1
    with pytest.raises(AssertionError):
        sound(trace)


def test_mutations(seed: bytes, write: Write) -> None:
    kinds = {"read": 0, "refused": 0}
    for name, data in itertools.islice(mutate.mutations(20_260_727, seed), MUTATIONS):
        try:
            trace = survive(write(data))
        except BaseException as error:
            error.add_note(name)
            raise
        kinds["read" if trace else "refused"] += 1
    print(kinds)
    assert min(kinds.values()) > MUTATIONS // 20, "some are read and some are not, or nothing is tried"
