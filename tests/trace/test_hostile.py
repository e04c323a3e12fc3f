"""Traces that nobody should write: reading one says what is wrong with it, or gives a trace that is sound."""

from __future__ import annotations

import itertools
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.trace import database, nesting, reader
from knnscope.trace.model import Calls, Copies, Kernels, Ranges
from tests.trace import mutate
from tests.trace.hostile import Write, accepted, sound, survive

KERNEL, MEMCPY, RUNTIME = reader.KERNEL, reader.MEMCPY, reader.RUNTIME
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
MUTATIONS = int(os.environ.get("KNNSCOPE_MUTATIONS", "500"))


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
