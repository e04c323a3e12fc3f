"""What changed between two runs, or several and several, in words, Markdown and CSV, and as flat rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from html import escape
from statistics import median
from typing import Any

import msgspec

from knnscope.analysis.change import BAD, UNTOLD, Change, Changes
from knnscope.report import markup
from knnscope.report.text import Table, plain
from knnscope.units import duration, short

WORDS = {
    "same": "no significant change",
    "noisy": "too noisy to tell",
    "no control": "cannot tell",
}
"""Outcomes that are not said by their own name."""
ORDER = (*BAD, "better", "right again", "works again", "new", "gone", "same", "noisy", "no control", "not comparable")
HEAD = ("engine", "k", "batch", "outcome", "A", "B", "B / A", "95%", "tells from")
RIGHT = (1, 2, 4, 5, 6, 8)
SHOWN = ("hot",)
"""States of the caches that the tables have; of the others what is more than a time."""
NAMED = 6
"""Rows that a sentence names."""
CELL = 200
"""Characters of a cell of Markdown."""
NEAR = 1.02
"""A machine that is so near to the same as before is called the same."""


def text(found: Changes) -> str:
    """What differs around the runs, what all engines share, a line for each row, and what it comes to."""
    parts = ["\n".join([f"A  {plain(earlier(found))}", f"B  {plain(later(found))}", *left_out(found)])]
    if found.differences:
        parts.append(around(found).text())
    parts += [*map("\n".join, filter(None, [shared(found)])), *([table(found).text()] if shown(found) else [])]
    if why := reasons(found):
        parts.append("\n".join(why))
    return "\n\n".join([*parts, "\n".join(sentences(found))])


def markdown(found: Changes) -> str:
    """The same for a page that takes Markdown, as a summary of a job: the conclusion first."""
    parts = ["\n".join(f"- {_cell(line)}" for line in sentences(found))]
    parts.append(f"A is {_cell(earlier(found))}, B is {_cell(later(found))}.")
    parts += [_cell(line) for line in left_out(found)]
    tables = [around(found)] if found.differences else []
    tables += [table(found)] if shown(found) else []
    for one in tables:
        head = [name or " " for name in one.head]
        rule = ["---:" if i in one.right else "---" for i in range(len(head))]
        lines = ["| " + " | ".join(map(_cell, line)) + " |" for line in (head, rule, *one.lines)]
        parts.append("\n".join([*([f"**{_cell(one.title)}**", ""] if one.title else []), *lines]))
    parts += [_cell(line) for line in (*shared(found), *reasons(found))]
    return "\n\n".join(parts) + "\n"


def csv_text(found: Changes) -> str:
    """The rows as CSV, with a line of names."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, Change.__struct_fields__, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows(found))
    return lines.getvalue()


def rows(found: Changes) -> list[dict[str, Any]]:
    """A flat dict a row."""
    return [{**msgspec.to_builtins(row), "libraries": ", ".join(row.libraries)} for row in found.rows]


def html(found: Changes) -> str:
    """Sentences and tables for a notebook."""
    tables = [around(found)] if found.differences else []
    tables += [table(found)] if shown(found) else []
    drawn = [markup.table(one.head, one.lines, one.right, one.title) for one in tables]
    said = [markup.paragraph(line) for line in (*left_out(found), *shared(found), *reasons(found), *sentences(found))]
    return markup.div([*drawn, *said])


def earlier(found: Changes) -> str:
    """The earlier run, or how many there are and which is the last."""
    out = {one.run for one in found.left_out}  # later ones are among them
    kept = sum(run not in out for run in found.earlier)
    if not found.earlier:
        return found.before
    return (
        f"{kept} earlier runs, the last {found.before}"
        if kept > 1
        else f"{found.before}, one of {len(found.earlier)} earlier runs"
    )


def later(found: Changes) -> str:
    """The later run, or how many there are and which is the first."""
    return f"{len(found.later)} later runs, the first {found.after}" if found.later else found.after


def left_out(found: Changes) -> list[str]:
    """A line for each run with which nothing can be compared."""
    return [f"left out: {plain(one.run)}: {plain(one.why)}" for one in found.left_out]


def against(found: Changes) -> list[str]:
    """How many runs, or pairs of processes, the rows were judged by, and held against; nothing of a side that had only one to begin with."""
    rows = _told(found)
    if found.by_turns:
        return [f"measured by turns; pairs of processes a row: {_span((row.pairs for row in rows), 0)}"]
    comparable = int(any(row.outcome != "not comparable" for row in found.rows))
    said = (
        [f"judged by {_span((row.later for row in rows), comparable)} of {len(found.later)} later runs"]
        if found.later
        else []
    )
    if found.earlier:
        said.append(
            f"held against {_span((row.earlier for row in rows), comparable)} of {len(found.earlier)} earlier runs"
        )
    return said


def _span(counts: Iterable[int | None], otherwise: int) -> str:
    """The least and the largest of some numbers of runs."""
    runs = sorted({count for count in counts if count}) or [otherwise]
    return f"{runs[0]}" if runs[0] == runs[-1] else f"{runs[0]} to {runs[-1]}"


def around(found: Changes) -> Table:
    """What differs around the runs; of several earlier ones the last is shown, of several later ones the first."""
    lines: list[tuple[object, ...]] = [
        (plain(d.what), plain(d.before), plain(d.after), _means(found, d.forbids, d.engines)) for d in found.differences
    ]
    them = "them"
    if found.by_turns:
        them = "the two environments"
    elif found.earlier or found.later:
        before = "the last earlier run" if found.earlier else "the earlier run"
        them = f"{before} and {'the first later one' if found.later else 'this one'}"
    return Table(f"what differs around {them}", ("what", "A", "B", "so"), lines)


def _means(found: Changes, forbids: str, engines: Sequence[str]) -> str:
    """What a difference means for the rows."""
    if forbids:
        return "no row can be compared" if forbids == "all" else "no row of a GPU can be compared"
    here = list(dict.fromkeys(row.engine for row in found.rows if row.engine in engines))
    return f"may change {_some(here)}" if here else ""


def shown(found: Changes) -> list[Change]:
    """Rows that the table has: calls with hot caches, and of the others what is more than a time."""
    some = [row for row in _told(found) if row.outcome != "not comparable"]
    return sorted(some, key=lambda row: (row.k, row.batch, row.boundary, ORDER.index(row.outcome)))


def _told(found: Changes) -> list[Change]:
    return [row for row in found.rows if row.cache in SHOWN or row.outcome not in ("same", *UNTOLD)]


def table(found: Changes) -> Table:
    """A line for each of them."""
    lines: list[tuple[object, ...]] = [
        (
            _who(row),
            row.k,
            row.batch,
            WORDS.get(row.outcome, row.outcome),
            duration(row.before_ns) if row.before_ns else "",
            duration(row.after_ns) if row.after_ns else "",
            "" if row.ratio is None else _times(row.ratio),
            "" if row.low is None or row.high is None else f"{_times(row.low)} to {_times(row.high)}",
            "" if row.tells is None else _times(row.tells),
            *([row.earlier or ""] if found.earlier else []),
            *([row.later or ""] if found.later else []),
            *([row.pairs or ""] if found.by_turns else []),
        )
        for row in shown(found)
    ]
    title = "row by row (B / A: " + (
        "measured by turns)" if found.by_turns else "what the unchanged engines share is taken out)"
    )
    counts = [
        *(["runs"] if found.earlier else []),
        *(["later runs"] if found.later else []),
        *(["pairs"] if found.by_turns else []),
    ]
    return Table(title, (*HEAD, *counts), lines, (*RIGHT, *range(len(HEAD), len(HEAD) + len(counts))))


def _times(ratio: float) -> str:
    """Two digits after the point, which tell a change from none; three digits of what is much smaller or larger."""
    return f"{ratio:.2f}" if 0.1 <= ratio < 10 else f"{ratio:,.3g}"


def _who(row: Change) -> str:
    more: list[str] = [row.cache] if row.cache != "hot" else []
    more += ["on the device"] if row.boundary == "device" else []
    return plain(row.engine) + (f" ({', '.join(more)})" if more else "")


def shared(found: Changes) -> list[str]:
    """A sentence for each device on what its unchanged engines share."""
    said = []
    for device in dict.fromkeys(one.device for one in found.shared):
        some = [one for one in found.shared if one.device == device and one.cache == "hot"]
        if not some:
            continue
        names = list(dict.fromkeys(name for one in some for name in one.engines))
        low, high = min(one.low for one in some), max(one.high for one in some)
        middle = median(one.ratio for one in some)
        where = "" if device == "cpu" else " on the GPU"
        took = "as long" if 1 / NEAR <= middle <= NEAR else f"{_times(middle)} times as long"
        said.append(
            f"the machine: {_some(names)}{where}, whose libraries are the same, {'takes' if len(names) == 1 else 'take'} {took} in B as in A "
            f"({_times(low)} to {_times(high)}): this is taken out of B / A"
        )
    return said


def reasons(found: Changes) -> list[str]:
    """Why rows are as they are, a line for each reason."""
    said: dict[str, list[str]] = {}
    for row in shown(found):
        if row.why and row.outcome in ("worse", "better", "same", "noisy"):
            said.setdefault(row.why, []).append(row.engine)
    return [f"{_some(list(dict.fromkeys(names)))}: {plain(why)}" for why, names in said.items()]


def sentences(found: Changes) -> list[str]:
    """What it comes to: what is worse first."""
    said = []
    hot = _told(found)
    for outcome in ORDER:
        some = [row for row in hot if row.outcome == outcome]
        if not some:
            continue
        word = WORDS.get(outcome, outcome)
        if outcome in ("same", "noisy", "no control", "not comparable"):
            line = f"{word}: {len(some)} {'row' if len(some) == 1 else 'rows'}"
            if outcome == "not comparable":
                line += f": {_because(found, some)}"
            else:
                line += f": {plain(some[0].why)}" if outcome == "no control" else _finest(some)
        else:
            named = [_named(row) for row in some[:NAMED]]
            line = f"{word}: {'; '.join(named)}" + (f"; and {len(some) - NAMED} more" if len(some) > NAMED else "")
        said.append(line)
    return [*said, *against(found)] if said else ["neither run has a row that was measured"]


def _because(found: Changes, some: Iterable[Change]) -> str:
    """What forbids it, by name: both values stand above."""
    forbids = [d.what for d in found.differences if d.forbids]
    return f"not the same: {plain(', '.join(forbids))}" if forbids else plain("; ".join({row.why: 0 for row in some}))


def _finest(some: Sequence[Change]) -> str:
    """From what on a change would have been told, of the rows that know."""
    tells = sorted(row.tells for row in some if row.tells is not None)
    if not tells:
        return ""
    low, high = _times(tells[0]), _times(tells[-1])
    span = low if low == high else f"{low} to {high}"
    return f" (a change of {span} times would have been told)"


def _named(row: Change) -> str:
    """A row in a few words, with by how much."""
    where = f"{_who(row)} at batch {row.batch}, k = {row.k}"
    if row.outcome not in ("worse", "better") or row.ratio is None or row.low is None or row.high is None:
        return f"{where} ({short(plain(row.why), CELL)})" if row.why and row.outcome not in ("new", "gone") else where
    libraries = f", {plain(', '.join(row.libraries))}" if row.libraries else ""
    return f"{where}: {_times(row.ratio)} times as long ({_times(row.low)} to {_times(row.high)}){libraries}"


def _some(names: Sequence[str]) -> str:
    known = [plain(name) for name in names]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


def _cell(value: object) -> str:
    """A text that is nothing but text in Markdown, which takes HTML and marks of its own."""
    clean = short(plain(str(value)), CELL * 5)
    return "".join(f"\\{c}" if c in "\\`*_[]|~#" else c for c in escape(clean, quote=False))


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
