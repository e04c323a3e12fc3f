"""Questions to a trace with names. Each looks at what tables and columns the trace has and chooses its SQL, or says what is missing."""

# ruff: noqa: S608 - every name in these statements is written here or comes from a fixed list

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from knnscope.errors import KnnscopeError
from knnscope.trace.columns import LARGEST
from knnscope.trace.database import Tables
from knnscope.trace.reader import GRAPH, KERNEL, LATEST, LONGEST, MEMCPY, MEMSET, PUSHED, RUNTIME, STARTED

TIMES = ("start", "end")
SANE = (
    f"typeof(start) = 'integer' AND typeof(end) = 'integer' AND start > -{LATEST} AND end > 0 AND end >= start "
    f"AND end < {LATEST} AND end - start < {LONGEST}"
)
"""Rows that the reader keeps; sums over others overflow."""
TIME = "end - max(start, 0)"
"""What began before the recording did counts from its beginning on."""
SIZE = f"CASE WHEN typeof(bytes) = 'integer' AND bytes BETWEEN 0 AND {LARGEST} THEN bytes ELSE 0 END"
DIRECTIONS = {1: "Host-to-Device", 2: "Device-to-Host", 8: "Device-to-Device", 10: "Peer-to-Peer"}
LONGEST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Query:
    """A named question; ``build`` makes its SQL for one trace."""

    sentence: str
    build: Callable[[Tables], str]


def need(tables: Tables, table: str, *columns: str) -> None:
    """Refuse what this trace cannot answer.

    Raises:
        KnnscopeError: there is no such table, or it lacks one of the columns.
    """
    have = tables.columns.get(table)
    if have is None and table == KERNEL and GRAPH in tables.columns:
        raise KnnscopeError(
            "this trace holds graphs recorded whole and no kernels: nsys profile --cuda-graph-trace=node shows those in graphs"
        )
    if have is None:
        raise KnnscopeError(f"this trace has no table {table} (a table exists only if something was recorded for it)")
    if missing := [column for column in columns if column not in have]:
        raise KnnscopeError(f"this trace's table {table} has no column {', '.join(missing)}")


def _label(tables: Tables, enum: str, column: str) -> str:
    """The name of a number, from the trace's own table: types of memory are numbered otherwise elsewhere."""
    have = tables.columns.get(enum, frozenset())
    word = next((name for name in ("label", "name") if name in have), None)
    known = f"(SELECT {word} FROM {enum} WHERE id = {column} LIMIT 1)" if word and "id" in have else "NULL"
    ours = "".join(f" WHEN {number} THEN '{text}'" for number, text in DIRECTIONS.items())
    if enum == "ENUM_CUDA_MEMCPY_OPER":  # the same in every schema
        known = f"coalesce({known}, CASE {column}{ours} END)"
    return f"coalesce({known}, 'number ' || {column}, 'unknown')"


def _string(column: str, unknown: str) -> str:
    return f"coalesce((SELECT value FROM StringIds WHERE id = {column} LIMIT 1), '{unknown}')"


def _direction(tables: Tables) -> str:
    return _label(tables, "ENUM_CUDA_MEMCPY_OPER", "copyKind")


def _memory(tables: Tables) -> str:
    source, target = (_label(tables, "ENUM_CUDA_MEM_KIND", column) for column in ("srcKind", "dstKind"))
    return f"{source} AS source, {target} AS target"


def _copy_throughput(tables: Tables) -> str:
    need(tables, MEMCPY, *TIMES, "bytes", "copyKind")
    return f"""
        SELECT {_direction(tables)} AS direction, count(*) AS copies, CAST(total(size) AS INTEGER) AS bytes,
               round(total(size) / 1048576.0 / nullif(total(time) / 1e9, 0), 1) AS mib_per_s,
               round(avg(size / 1048576.0 / nullif(time / 1e9, 0)), 1) AS mean_of_each_copys_mib_per_s
        FROM (SELECT copyKind, {SIZE} AS size, {TIME} AS time FROM {tables.actual[MEMCPY]} WHERE {SANE})
        GROUP BY copyKind ORDER BY 3 DESC"""


def _copy_latency(tables: Tables) -> str:
    need(tables, MEMCPY, *TIMES, "copyKind", "srcKind", "dstKind")
    return f"""
        SELECT {_direction(tables)} AS direction, {_memory(tables)}, count(*) AS copies, round(avg(time) / 1e3, 2) AS mean_us,
               round(avg(CASE WHEN place IN ((members + 1) / 2, (members + 2) / 2) THEN time END) / 1e3, 2) AS median_us,
               round(max(time) / 1e3, 2) AS max_us
        FROM (SELECT copyKind, srcKind, dstKind, {TIME} AS time, count(*) OVER same AS members,
                     row_number() OVER (PARTITION BY copyKind, srcKind, dstKind ORDER BY {TIME}) AS place
              FROM {tables.actual[MEMCPY]} WHERE {SANE} WINDOW same AS (PARTITION BY copyKind, srcKind, dstKind))
        GROUP BY copyKind, srcKind, dstKind ORDER BY copies DESC"""


def _api_time(tables: Tables) -> str:
    need(tables, RUNTIME, *TIMES, "nameId")
    need(tables, "StringIds", "id", "value")
    bare = "rtrim(value, '0123456789')"
    return f"""
        SELECT CASE WHEN {bare} <> value AND substr({bare}, -2) = '_v' THEN substr({bare}, 1, length({bare}) - 2) ELSE value END AS api,
               CASE WHEN value LIKE 'cuda%' THEN 'runtime' WHEN value LIKE 'cu%' THEN 'driver' ELSE 'unknown' END AS interface,
               sum(calls) AS calls, round(total(time) / sum(calls) / 1e3, 2) AS mean_us, round(total(time) / 1e6, 3) AS total_ms
        FROM (SELECT {_string("nameId", "unnamed call")} AS value, count(*) AS calls, total({TIME}) AS time
              FROM {tables.actual[RUNTIME]} WHERE {SANE} GROUP BY nameId)
        GROUP BY 1, 2 ORDER BY total(time) DESC"""


def _work(tables: Tables) -> str:
    """What the GPU did; a table that is not there has no rows."""
    tables_of_work = [(KERNEL, "kernel"), (GRAPH, "graph"), (MEMCPY, "copy"), (MEMSET, "fill")]
    there = [(table, what) for table, what in tables_of_work if table in tables.columns]
    if not any(table in (KERNEL, GRAPH, MEMCPY) for table, _ in there):
        raise KnnscopeError(
            f"this trace has none of the tables {KERNEL}, {GRAPH}, {MEMCPY}: nothing on a GPU was recorded"
        )
    for table, _ in there:
        need(tables, table, *TIMES)
    return " UNION ALL ".join(
        f"SELECT '{what}' AS what, start, end, {'deviceId' if 'deviceId' in tables.columns[table] else 0} AS device "
        f"FROM {tables.actual[table]} WHERE {SANE}"
        for table, what in there
    )


def _ratio(tables: Tables) -> str:
    return f"""
        SELECT round(kernels / 1e6, 3) AS kernel_ms, round(copies / 1e6, 3) AS copy_ms,
               round(100.0 * kernels / nullif(kernels + copies, 0), 1) AS kernel_percent,
               round(100.0 * copies / nullif(kernels + copies, 0), 1) AS copy_percent
        FROM (SELECT total(CASE WHEN what IN ('kernel', 'graph') THEN {TIME} END) AS kernels,
                     total(CASE WHEN what = 'copy' THEN {TIME} END) AS copies FROM ({_work(tables)}))"""


def _kernels(tables: Tables) -> str:
    name = (
        "demangledName" if "demangledName" in tables.columns.get(KERNEL, ()) else "shortName"
    )  # templates share a short one
    grid, block = (tuple(part + axis for axis in "XYZ") for part in ("grid", "block"))
    need(tables, KERNEL, *TIMES, name, *grid, *block)
    need(tables, "StringIds", "id", "value")
    shape = ", ".join((*grid, *block))
    grid_text, block_text = (" || ' x ' || ".join(axes) for axes in (grid, block))
    return f"""
        SELECT {_string("name", "unnamed kernel")} AS kernel, sum(launches) AS launches,
               round(total(time) / sum(launches) / 1e3, 2) AS mean_us, round(total(time) / 1e6, 3) AS total_ms,
               max(CASE WHEN place = 1 THEN {grid_text} END) AS most_frequent_grid,
               max(CASE WHEN place = 1 THEN {block_text} END) AS its_block
        FROM (SELECT *, row_number() OVER (PARTITION BY name ORDER BY launches DESC) AS place
              FROM (SELECT {name} AS name, {shape}, count(*) AS launches, total({TIME}) AS time
                    FROM {tables.actual[KERNEL]} WHERE {SANE} GROUP BY {name}, {shape}))
        GROUP BY name ORDER BY total(time) DESC"""


def _copies(tables: Tables) -> str:
    need(tables, MEMCPY, *TIMES, "bytes", "copyKind", "srcKind", "dstKind")
    return f"""
        SELECT {_direction(tables)} AS direction, size AS bytes_each, {_memory(tables)}, count(*) AS copies,
               round(avg(time) / 1e3, 2) AS mean_us, round(total(time) / 1e6, 3) AS total_ms
        FROM (SELECT copyKind, srcKind, dstKind, {SIZE} AS size, {TIME} AS time FROM {tables.actual[MEMCPY]} WHERE {SANE})
        GROUP BY copyKind, size, srcKind, dstKind ORDER BY total(time) DESC"""


def _gaps(tables: Tables) -> str:
    return f"""
        WITH idle AS (
            SELECT device, busy_until, start - busy_until AS time, row_number() OVER (ORDER BY start - busy_until DESC, start) AS place,
                   count(*) OVER () AS members
            FROM (SELECT device, start, max(end) OVER (PARTITION BY device ORDER BY start, end
                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until FROM ({_work(tables)}))
            WHERE start > busy_until)
        SELECT 'all' AS gap, NULL AS device, NULL AS begins_ms, count(*) AS gaps,
               round(avg(CASE WHEN place IN ((members + 1) / 2, (members + 2) / 2) THEN time END) / 1e3, 2) AS median_us,
               round(total(time) / 1e6, 3) AS total_ms
        FROM idle
        UNION ALL
        SELECT * FROM (SELECT 'longest ' || place, device, round(busy_until / 1e6, 3), 1, round(time / 1e3, 2), round(time / 1e6, 3)
                       FROM idle WHERE place <= {LONGEST_SHOWN} ORDER BY place)"""


def _phases(tables: Tables) -> str:
    need(tables, "NVTX_EVENTS", *TIMES)
    have = tables.columns["NVTX_EVENTS"]
    names = ["text"] if "text" in have else []
    if "textId" in have and {"id", "value"} <= tables.columns.get("StringIds", frozenset()):
        names.append("(SELECT value FROM StringIds WHERE id = textId LIMIT 1)")
    chosen = f"AND eventType IN ({PUSHED}, {STARTED})" if "eventType" in have else ""
    there = [
        table
        for table in (KERNEL, GRAPH, MEMCPY, MEMSET, RUNTIME, "NVTX_EVENTS")
        if {*TIMES} <= tables.columns.get(table, frozenset())
    ]
    ends = " UNION ALL ".join(f"SELECT max(end) AS last FROM {tables.actual[table]} WHERE {SANE}" for table in there)
    begins = "UNION ALL SELECT max(start) FROM {} WHERE typeof(start) = 'integer' AND start < {}"
    begins = begins.format(tables.actual["NVTX_EVENTS"], LATEST)
    columns = ", ".join(c for c in ("eventType", "text", "textId") if c in have)
    ranges = f"SELECT start, coalesce(end, (SELECT max(last) FROM ({ends} {begins}))) AS end, {columns} FROM {tables.actual['NVTX_EVENTS']}"
    return f"""
        SELECT coalesce({", ".join((*names, "'unnamed range'", "NULL"))}) AS phase, count(*) AS ranges,
               round(total({TIME}) / 1e6, 3) AS total_ms, round(avg({TIME}) / 1e6, 3) AS mean_ms
        FROM ({ranges}) WHERE {SANE} {chosen} GROUP BY 1 ORDER BY total({TIME}) DESC"""


QUERIES: dict[str, Query] = {
    "copy-throughput": Query(
        "Copies, bytes and MiB/s by direction: total bytes over total time, and the mean of the copies' own rates for comparison.",
        _copy_throughput,
    ),
    "copy-latency": Query(
        "How long a copy takes, by direction and types of memory: mean, median, longest.", _copy_latency
    ),
    "api-time": Query(
        "Calls of the CUDA runtime and driver by name; a runtime call holds the driver calls it makes, so totals overlap.",
        _api_time,
    ),
    "kernel-memory-ratio": Query("Time in kernels (and graphs) against time in copies.", _ratio),
    "kernels": Query("Launches and time by kernel, with the grid and block most often used.", _kernels),
    "copies": Query("Copies by direction, size and types of memory.", _copies),
    "gaps": Query(
        f"When no kernel, copy or fill ran between two on the same GPU: all, and the {LONGEST_SHOWN} longest.", _gaps
    ),
    "phases": Query(
        "NVTX ranges by name; ranges inside ranges count in both, one that never ended lasts to the end.", _phases
    ),
}
