"""Values that nobody should write, in tables that can be read: what is left out is told of, all else is sound."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.trace import names, nesting, reader
from tests.trace import mutate
from tests.trace.hostile import Write, accepted

KERNEL, MEMCPY, RUNTIME = reader.KERNEL, reader.MEMCPY, reader.RUNTIME
COLUMNS = mutate.columns_of(mutate.small(1))


EACH_VALUE = pytest.mark.parametrize("value", mutate.EDGES, ids=lambda value: repr(value)[:20])
SHARE = 6
"""A value is tried alone in every sixth column, each column with a sixth of the values; all of them with --slow."""


def everywhere(seed: bytes, write: Write, value: object, first: int, step: int) -> None:
    """A value in all columns of a table at once, and alone in those from ``first`` on."""
    for table in mutate.TABLES:
        names = [name for where, name in COLUMNS if where == table]
        for some in (names, *([name] for name in names[first::step])):
            chosen = ", ".join(f"{name} = ?1" for name in some)
            accepted(write(mutate.untyped(seed, table, f"UPDATE {table} SET {chosen}", values=(value,))))


@EACH_VALUE
def test_any_value_in_columns(seed: bytes, write: Write, value: object) -> None:
    everywhere(seed, write, value, mutate.EDGES.index(value) % SHARE, SHARE)


@pytest.mark.slow
@EACH_VALUE
def test_any_value_in_every_column(seed: bytes, write: Write, value: object) -> None:
    everywhere(seed, write, value, 0, 1)


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
            patch.setattr(names, bound, value)
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
