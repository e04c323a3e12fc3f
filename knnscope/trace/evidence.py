"""Queries that give just the rows which a finding counts, on the file as it is: anyone can run them."""

# ruff: noqa: S608 - numbers and names that are quoted here

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from knnscope.trace.names import NAME
from knnscope.trace.phases import Phase
from knnscope.trace.queries import SANE, SIZE
from knnscope.trace.reader import (
    GRAPH,
    KERNEL,
    LATEST,
    LONGEST,
    MEMCPY,
    MEMSET,
    PUSHED,
    RUNTIME,
    SHIFTED_NS,
    STARTED,
    UNNAMED,
)
from knnscope.trace.windows import BACK_START, OWN_START, SEARCH_START, only_threads, process_of

FEW = 24
"""So many windows are written out; more are taken from the ranges by their name."""
WORK = (KERNEL, GRAPH, MEMCPY, MEMSET)
PID = "({} >> 24) & 16777215"
BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"


def kernels(phase: Phase, names: Iterable[str] | None = None) -> str:
    """The phase's kernels, or those of these names, as rules know them."""
    column = "shortName" if "shortName" in phase.trace.source.columns.get(KERNEL, ()) else "demangledName"
    name = _string(f"e.{column}", "unnamed kernel")
    return _work(
        phase, KERNEL, f"start, end, {name} AS kernel", f"{name} IN ({_list(names)})" if names is not None else ""
    )


def copies(phase: Phase, condition: str = "", call: str = "") -> str:
    """The phase's copies for which a condition on the table's columns holds; call: a word in the name of what launched them.

    In the condition write SIZE, not bytes: it reads a senseless size as the reader does (0).
    """
    size = SIZE.replace("bytes", "e.bytes") if MEMCPY in phase.trace.source.odd else "bytes"
    condition = condition.replace("SIZE", size)
    columns = ", ".join(
        ("start", "end", *(c for c in ("bytes", "copyKind") if c in phase.trace.source.columns[MEMCPY]))
    )
    return _work(phase, MEMCPY, columns, condition, f"l.name LIKE '%{call}%'" if call else "")


def calls(phase: Phase, numbers: Iterable[int] | None = None) -> str:
    """The phase's calls that lie in no other, or those of them with these names, by number."""
    source = phase.trace.source
    thread = "globalTid" if source.threads else "0"
    users = ", ".join(map(str, phase.trace.users(phase.gpu))) if phase.whole else ""
    name = _string("nameId", "unnamed call")
    called = [text for n in numbers for text in source.spellings.get(n, ())] if numbers is not None else []
    outer = (
        f"SELECT rowid AS id, {_start(phase, RUNTIME)} AS at, start, end, {thread} AS thread, {name} AS call, "
        f"max(end) OVER (PARTITION BY {thread} ORDER BY {_start(phase, RUNTIME)}, end DESC, rowid {BEFORE}) AS reach "
        f"FROM {_table(phase, RUNTIME)}{_where(_sane(phase, RUNTIME), f'{PID.format(thread)} IN ({users})' if users else '')}"
    )
    condition = f" AND call IN ({_list(called)})" if numbers is not None else ""
    items = f"SELECT * FROM calls WHERE (reach IS NULL OR end > reach){condition}"
    return _inside(phase, [f"calls AS ({outer})", f"items AS ({items})"], "start, end, call", "items")


def gaps(phase: Phase, least: int) -> str:
    """Times of so many nanoseconds or more, inside one time through the phase, in which the GPU had nothing to do."""
    parts = [_rows(phase, table, everywhere=True) for table in WORK if table in phase.trace.source.tables]
    head = [
        *dict.fromkeys(clause for part in parts for clause in part.head),
        f"work AS ({' UNION ALL '.join(f'SELECT {part.start} AS start, end {part.body}' for part in parts)})",
        f"idle AS (SELECT max(end) OVER (ORDER BY start, end {BEFORE}) AS begins, start AS ends FROM work)",
        f"gap AS (SELECT begins, ends FROM idle WHERE ends - begins >= {least})",
    ]
    if phase.whole:
        return f"WITH {', '.join(head)} SELECT begins, ends FROM gap"
    if len(phase.steady) <= FEW:
        inside = "EXISTS (SELECT 1 FROM phase WHERE begins >= a AND ends <= b)"
        return f"WITH {', '.join([*head, _phase(phase)])} SELECT begins, ends FROM gap WHERE {inside}"
    head += [
        *_derived(phase),
        "placed AS (SELECT at, until, max(a) OVER (ORDER BY at, mark ROWS UNBOUNDED PRECEDING) AS begun FROM "
        "(SELECT a AS at, NULL AS until, a, 0 AS mark FROM phase UNION ALL SELECT begins, ends, NULL, 1 FROM gap))",
        "lasting AS (SELECT a, max(b) AS b FROM phase GROUP BY a)",
    ]
    inside = "until IS NOT NULL AND until <= b"
    return f"WITH {', '.join(head)} SELECT at AS begins, until AS ends FROM placed JOIN lasting ON a = begun WHERE {inside}"


class _Rows(NamedTuple):
    """What a query needs before, its FROM and WHERE, and when and on which thread each row was launched."""

    head: tuple[str, ...]
    body: str
    start: str
    at: str
    thread: str


def _rows(phase: Phase, table: str, condition: str = "", of_call: str = "", *, everywhere: bool = False) -> _Rows:
    """Rows of a table of a GPU's work, wherever they were launched."""
    source = phase.trace.source
    start = _start(phase, table)
    where = list(filter(None, (_sane(phase, table), _on_gpu(phase, table), condition, of_call)))
    linked = RUNTIME in source.tables and {"correlationId"} <= source.columns[table] & source.columns[RUNTIME]
    alone = "NULL" if phase.whole else _alone(phase)
    body = f"FROM {_table(phase, table)} e"
    if not linked or (not source.shifted and not of_call and (phase.whole or everywhere)):
        return _Rows((), body + _where(*where), start, start, alone)
    name = f", {_string('nameId', 'unnamed call')} AS name" if of_call else ""
    launch = (
        f"launch AS (SELECT {PID.format('globalTid') if source.by_process else '0'} AS process, correlationId AS id, "
        f"min({_start(phase, RUNTIME)}) AS at, {'globalTid' if source.threads else '0'} AS thread{name} FROM {_table(phase, RUNTIME)}"
        f"{_where(_sane(phase, RUNTIME), 'correlationId BETWEEN 1 AND 4294967295')} GROUP BY 1, 2)"
    )
    if source.shifted:
        where.append(f"(l.at IS NULL OR {start} >= l.at - {SHIFTED_NS})")
    mine = f" AND l.process = {PID.format('e.globalPid')}" if source.by_process else ""
    body += f" LEFT JOIN launch l ON l.id = e.correlationId{mine}{_where(*where)}"
    return _Rows((launch,), body, start, f"coalesce(l.at, {start})", f"coalesce(l.thread, {alone})")


def _work(phase: Phase, table: str, columns: str, condition: str, of_call: str = "") -> str:
    """The phase's rows of a table of a GPU's work."""
    rows = _rows(phase, table, condition, of_call)
    if phase.whole:
        return f"{'WITH ' + ', '.join(rows.head) + ' ' if rows.head else ''}SELECT {columns} {rows.body}"
    if len(phase.steady) <= FEW:
        inside = (
            f"EXISTS (SELECT 1 FROM phase p WHERE p.thread = {rows.thread} AND {rows.at} >= p.a AND {rows.at} < p.b)"
        )
        both = "AND" if " WHERE " in rows.body else "WHERE"
        return f"WITH {', '.join([*rows.head, _phase(phase)])} SELECT {columns} {rows.body} {both} {inside}"
    head = [*rows.head, f"items AS (SELECT e.rowid AS id, {rows.at} AS at, {rows.thread} AS thread {rows.body})"]
    return _inside(phase, head, columns, f"{_table(phase, table)} e", "e.rowid")


def _inside(phase: Phase, head: list[str], columns: str, source: str, number: str = "id") -> str:
    """Rows of ``source`` that ``items`` names, where these lie in the phase."""
    if phase.whole:
        return f"WITH {', '.join(head)} SELECT {columns} FROM {source}"
    if len(phase.steady) <= FEW:
        inside = "EXISTS (SELECT 1 FROM phase p WHERE p.thread = items.thread AND items.at >= p.a AND items.at < p.b)"
        return f"WITH {', '.join([*head, _phase(phase)])} SELECT {columns} FROM items WHERE {inside}"
    head = [
        *head,
        *_derived(phase),
        "placed AS (SELECT id, at, thread, max(a) OVER (PARTITION BY thread ORDER BY at, mark ROWS UNBOUNDED PRECEDING) AS begun FROM "
        "(SELECT NULL AS id, a AS at, thread, a, 0 AS mark FROM phase UNION ALL SELECT id, at, thread, NULL, 1 FROM items))",
        "found AS (SELECT placed.id AS row FROM placed JOIN phase p ON p.thread = placed.thread AND p.a = placed.begun "
        "WHERE placed.id IS NOT NULL AND placed.at < p.b)",
    ]
    return f"WITH {', '.join(head)} SELECT {columns} FROM {source} WHERE {number} IN (SELECT row FROM found)"


def _phase(phase: Phase) -> str:
    """The times looked at, written out."""
    windows = phase.run.windows
    rows = zip(*(column[phase.steady].tolist() for column in (windows.start, windows.end, windows.thread)), strict=True)
    return f"phase(a, b, thread) AS (VALUES {', '.join(f'({a}, {b}, {thread})' for a, b, thread in rows)})"


def _derived(phase: Phase) -> list[str]:
    """The times looked at, from the ranges: the outermost of each thread, each until the next begins."""
    trace, windows, source = phase.trace, phase.run.windows, phase.trace.source
    have = source.columns["NVTX_EVENTS"]
    string = (
        f"(SELECT substr(value, 1, {NAME}) FROM StringIds WHERE id = textId)"
        if "textId" in have and trace.source.strings
        else "NULL"
    )
    text = f"CASE typeof(text) WHEN 'text' THEN substr(text, 1, {NAME}) ELSE {string} END" if "text" in have else string
    thread = "globalTid" if source.threads else "0"
    kept = [f"eventType IN ({PUSHED}, {STARTED})"] if "eventType" in have else []
    kept += [
        f"typeof(start) = 'integer' AND start > -{LATEST} AND start <= coalesce(end, {LATEST}) AND coalesce(end, {LATEST}) > 0 "
        f"AND (end IS NULL OR (typeof(end) = 'integer' AND end < {LATEST} AND end - start < {LONGEST}))"
    ]
    if windows.own:
        kept.append(f"substr(name, 1, {len(OWN_START)}) = '{OWN_START}'")
    elif "domainId" in have:
        mine = (
            f" OR ({PID.format('globalTid')}, domainId) IN (VALUES {_pairs(source.domains)})" if source.domains else ""
        )
        kept.append(f"(coalesce(domainId, 0) = 0{mine})")
    label = windows.labels[int(windows.label[phase.chosen[0]])]
    wanted = f"{_folded('name')} = {_quoted(label)}" if label in windows.folded else f"name = {_quoted(label)}"
    first = int(phase.chosen[0])
    parts = [
        f"ranges AS (SELECT rowid AS number, max(start, 0) AS a, coalesce(end, {source.end}) AS b, {thread} AS thread, "
        f"coalesce(nullif({text}, ''), '{UNNAMED}') AS name FROM {_table(phase, 'NVTX_EVENTS')} WHERE {' AND '.join(kept)})",
        f"tops AS (SELECT * FROM (SELECT *, max(b) OVER (PARTITION BY thread ORDER BY a, b DESC, number {BEFORE}) AS reach FROM ranges) "
        "WHERE reach IS NULL OR b > reach)",
    ]
    if windows.own:
        search, back = (f"substr({{}}, 1, {len(start)}) = '{start}'" for start in (SEARCH_START, BACK_START))
        following = f"{search.format('name')} AND {back.format('lead(name) OVER t')}"
        parts.append(
            f"windows AS (SELECT * FROM (SELECT a, CASE WHEN {following} THEN min(lead(b) OVER t, coalesce(lead(a, 2) OVER t, lead(b) OVER t)) "
            f"ELSE min(b, coalesce(lead(a) OVER t, b)) END AS b, thread, name, {back.format('name')} AND {search.format('lag(name) OVER t')} AS part "
            "FROM tops WINDOW t AS (PARTITION BY thread ORDER BY a)) WHERE part IS NOT 1)"
        )
    else:
        parts.append(
            "windows AS (SELECT a, min(b, coalesce(lead(a) OVER t, b)) AS b, thread, name FROM tops WINDOW t AS (PARTITION BY thread ORDER BY a))"
        )
    past = ">" if len(phase.chosen) > 1 else ">="  # the first of several times is left out
    chosen = [wanted, f"(a, thread) {past} ({int(windows.start[first])}, {int(windows.thread[first])})"]
    everyone = np.flatnonzero(windows.label == windows.label[first])
    if len(everyone) > len(phase.chosen):
        some = sorted({process_of(t) for t in windows.thread[phase.chosen].tolist()})
        chosen.append(f"{PID.format('thread')} IN ({', '.join(map(str, some))})")
    return [*parts, f"phase AS (SELECT a, b, thread FROM windows WHERE {' AND '.join(chosen)})"]


def _alone(phase: Phase) -> str:
    """The thread to whose ranges work without a call belongs."""
    threads = only_threads(phase.trace, phase.run.windows)
    if not phase.trace.source.by_process:
        return str(next(iter(threads.values()), "NULL"))
    mine = {process_of(t) for t in phase.run.windows.thread[phase.chosen].tolist()}
    cases = " ".join(f"WHEN {process} THEN {thread}" for process, thread in threads.items() if process in mine)
    return f"CASE {PID.format('e.globalPid')} {cases} END" if cases else "NULL"


def _on_gpu(phase: Phase, table: str) -> str:
    """Which rows are this GPU's; nothing where all are."""
    trace, have = phase.trace, phase.trace.source.columns.get(table, ())
    if trace.used == (phase.gpu,) or "deviceId" not in have:
        return ""
    places = {(lane.process, lane.device) for lane in trace.lanes if lane.gpu == phase.gpu}
    others = {(lane.process, lane.device) for lane in trace.lanes if lane.gpu != phase.gpu}
    devices = {device for _, device in places}
    if not devices & {device for _, device in others}:
        return f"deviceId IN ({', '.join(map(str, sorted(devices)))})"
    return f"({PID.format('e.globalPid')}, deviceId) IN (VALUES {_pairs(sorted(places))})"


def _sane(phase: Phase, table: str) -> str:
    """Which rows the reader keeps; nothing where it keeps all."""
    return SANE if table in phase.trace.source.odd else ""


def _start(phase: Phase, table: str) -> str:
    """When a row begins: not before the recording."""
    return "max(start, 0)" if table in phase.trace.source.odd else "start"


def _where(*conditions: str) -> str:
    real = [condition for condition in conditions if condition]
    return f" WHERE {' AND '.join(real)}" if real else ""


def _string(column: str, unknown: str) -> str:
    return f"coalesce(nullif((SELECT substr(value, 1, {NAME}) FROM StringIds WHERE id = {column}), ''), '{unknown}')"


def _table(phase: Phase, table: str) -> str:
    return phase.trace.source.tables[table]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: Iterable[str] | None) -> str:
    return ", ".join(_quoted(text) for text in texts or ())


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"({a}, {b})" for a, b in pairs)


def _folded(column: str) -> str:
    """``windows.fold`` in SQL."""
    for digit in "0123456789":
        column = f"replace({column}, '{digit}', '#')"
    return f"replace(replace(replace({column}, '#', char(1, 2)), char(2, 1), ''), char(1, 2), '#')"
