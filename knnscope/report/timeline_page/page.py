"""The document: a bar of controls, the lanes, the still picture of them, tables of findings, names and lanes, and the events as bytes.

Nothing of it is fetched. The one script and the one style are allowed by their hashes, so that a name of a trace which found its way into the markup
would still not run; and every name is escaped, in markup as in JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import IO, Any

import numpy as np

from knnscope.annotate import PREFIX
from knnscope.report.lane_colours import COLOURS, ON_DARK, PALE, pale
from knnscope.report.text import plain
from knnscope.report.timeline_page.pack import KINDS, Packer, Used, pack_names, pack_row, pack_spans
from knnscope.report.timeline_page.still import classes_of, still
from knnscope.trace.excerpt import Window, inside
from knnscope.trace.findings import Finding
from knnscope.trace.intervals import Spans, covered
from knnscope.trace.lanes import busy
from knnscope.trace.model import ARRAY, DEVICE, MANAGED, PAGEABLE, PINNED, Copies, Trace
from knnscope.trace.rows import CALL_TONES, PHASE_TONES, Most, Row, rows
from knnscope.units import about, decimal_size, duration, percent

SCRIPTS = ("columns.js", "words.js", "paint.js", "view.js", "search.js", "input.js")
"""In this order: a later one uses what an earlier one defines."""
PAGE = Most(threads=24, streams=24, depths=6, gpus=16, by_thread=True, inner=True)
PLACES = 4000
"""Times of a finding at most; those nearest to each other become one."""
FINDINGS, BUSIEST = 40, 40
"""Findings, and names, that are listed."""
MEMORY = {PAGEABLE: "pageable", PINNED: "pinned", DEVICE: "device", ARRAY: "array", MANAGED: "managed"}
KEYS = (
    ("← →", "move; with Shift, nearly a page"),
    ("+ −", "zoom"),
    ("0", "the whole window"),
    ("/", "search a name; Enter goes to a hit"),
    ("n p", "next and previous hit; without a search, event of the lane"),
    ("↑ ↓", "choose a lane, when the lanes have the focus"),
    ("Enter", "show the chosen event from edge to edge"),
    ("Home End", "beginning and end of the window, when the lanes have the focus"),
    ("Esc", "choose nothing"),
    ("?", "this list"),
    ("mouse", "drag to move, Ctrl and wheel to zoom, double-click an event to show it from edge to edge"),
    ("fingers", "drag to move, pinch to zoom, tap to choose"),
)


def write(trace: Trace, window: Window, findings: Sequence[Finding], file: IO[str]) -> int:
    """Everything of which a part lies in the window, uncut; returns the number of events.

    Args:
        trace: with names that are printable.
        window: what can be seen.
        findings: of the same trace; those of which no time lies in the window are only counted.
        file: to write UTF-8 to.
    """
    lanes = list(rows(trace, window, PAGE))
    placed = [(finding, spans) for finding in findings if len((spans := _inside(finding, window))[0])]
    shown = placed[:FINDINGS]
    used = Used.of(trace, lanes)
    packer = Packer()
    sizes = pack_names(packer, lanes, used)
    head = {
        "span": window.high - window.low,
        "since": window.low - trace.span[0],
        "focus": [time - window.low for time in window.focus] if window.focus else None,
        "names": {"count": len(used.names), "sizes": sizes},
        "calls": len(used.calls),
        "lanes": [_lane(row, window, pack_row(packer, row, window.low, used)) for row in lanes],
        "findings": [_finding(f, len(spans[0]), pack_spans(packer, spans, window.low)) for f, spans in shown],
        "colours": {group: [{"light": c, "dark": ON_DARK.get(c, c)} for c in some] for group, some in COLOURS.items()},
        "pale": PALE,
        "prefix": PREFIX,
        "memory": [MEMORY.get(i, "") for i in range(max(MEMORY) + 1)],
        "kinds": KINDS,
    }
    elsewhere = len(findings) - len(shown)
    body = [
        *_top(trace, window, lanes),
        f'<figure id="still">{still(trace, window)}</figure>',
        *_findings([finding for finding, _ in shown], elsewhere),
        *_tables(lanes, window, trace),
        _data("application/json", "head", _json(head)),
        _data("application/octet-stream", "columns", packer.base64()),
    ]
    for part in _document(f"{_name(trace)}: {window.title}", body):
        file.write(part)
    return sum(len(row.which) for row in lanes)


def _inside(finding: Finding, window: Window) -> Spans:
    start, end = finding.where(PLACES)
    start, end = np.maximum(start, window.low), np.minimum(end, window.high)
    return start[end > start], end[end > start]


def _lane(row: Row, window: Window, columns: list[int]) -> dict[str, Any]:
    return {
        "title": row.title,
        "group": row.group,
        "gpu": row.gpu,
        "count": len(row.which),
        "tones": len(COLOURS[row.group]),
        "figures": " · ".join(_figures(row, window)),
        "columns": columns,
    }


def _figures(row: Row, window: Window) -> list[str]:
    """How many events, what they moved, how long they cover, as text."""
    if not len(row.which):
        return ["none here"]
    start, end = row.events.start[row.which].astype(np.int64), row.events.end[row.which].astype(np.int64)
    took = covered(np.maximum(start, window.low), np.minimum(end, window.high))
    moved = (
        [decimal_size(int(row.events.nbytes[row.which].sum(dtype=np.float64)))]
        if isinstance(row.events, Copies)
        else []
    )
    return [f"{len(row.which):,}", *moved, f"{duration(took)} ({about(took / (window.high - window.low))})"]


def _finding(finding: Finding, count: int, sizes: list[int]) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "phase": plain(finding.phase),
        "gpu": finding.gpu,
        "title": plain(finding.title),
        "remedy": plain(finding.remedy),
        "saves": _saves(finding),
        "count": count,
        "sizes": sizes,
    }


def _saves(finding: Finding) -> str:
    about = "up to" if finding.at_most else "about"
    return f"{about} {duration(finding.saving_ms * 1e6)} of each time through it ({percent(finding.share)})"


def _document(title: str, body: Iterable[str]) -> Iterator[str]:
    folder = files("knnscope.report.timeline_page")
    script = "\n".join(
        ["(() => {", '"use strict";', *((folder / name).read_text("utf-8") for name in SCRIPTS), "})();"]
    )
    style = (folder / "page.css").read_text("utf-8") + _colours()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
    )
    for part in body:
        yield part + "\n"
    yield f"</main>\n<script>{script}</script>\n</body>\n</html>\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _colours() -> str:
    """Classes of the still picture, light and dark."""
    light, dark = [], []
    for group, colours in COLOURS.items():
        for tone, colour in enumerate(colours):
            name, night = classes_of(group, tone), ON_DARK.get(colour, colour)
            light.append(f".{name}{{fill:{colour}}}.p{name}{{fill:{pale(colour)}}}")
            dark.append(f".{name}{{fill:{night}}}.p{name}{{fill:{night};fill-opacity:{PALE}}}")
    return f"{''.join(light)}@media screen and (prefers-color-scheme:dark){{{''.join(dark)}}}"


def _json(value: object) -> str:
    """JSON that ends no script block, whatever stands in it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _data(kind: str, name: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'


def _name(trace: Trace) -> str:
    return trace.path.replace("\\", "/").rsplit("/", 1)[-1]


def _top(trace: Trace, window: Window, lanes: list[Row]) -> Iterator[str]:
    """What is shown, and the controls, which only a script can serve."""
    count = sum(len(row.which) for row in lanes)
    worked = ", ".join(
        f"{f'GPU {gpu}' if len(trace.used) > 1 else 'the GPU'} worked {about(busy(trace, window.low, window.high, gpu) / (window.high - window.low))}"
        for gpu in sorted(trace.used[:4])
    )
    gpu = f"{trace.gpu.name}{f' and {len(trace.used) - 1} more' if len(trace.used) > 1 else ''}"
    by = f"; recorded by {escape(trace.recorder)}" if trace.recorder != "unknown" else ""
    yield f"<h1>{escape(_name(trace))}</h1>"
    yield (
        f"<p>{escape(gpu)}; {escape(window.title)}: {duration(window.high - window.low)}, {count:,} events"
        f"{f'; {escape(worked)} of that' if worked else ''}{by}</p>"
    )
    tables = (trace.kernels, trace.copies, trace.calls, trace.ranges)
    if left := sum(len(inside(events, window.low, window.high)) for events in tables) - count:
        yield f"<p>{left:,} more are not shown: ranges nested deeper than {PAGE.depths}, or GPUs beyond {PAGE.gpus}.</p>"
    if window.focus:
        begin, end = window.focus
        yield f"<p>{escape(window.focus_title)}, on yellow: {duration(end - begin)}</p>"
    yield '<p id="why" role="status"></p>'
    yield "<noscript><p>JavaScript is off: this is the whole window, still, and the tables.</p></noscript>"
    yield (
        '<div class="bar" role="toolbar" aria-label="Timeline">'
        '<span class="group"><label for="search">Search names</label>'
        '<input id="search" type="search" autocomplete="off" spellcheck="false">'
        f"{_button('previous', '‹', 'Previous hit')}{_button('next', '›', 'Next hit')}"
        '<output id="count" for="search"></output></span>'
        f'<span class="group">{_button("earlier", "←", "Earlier")}{_button("later", "→", "Later")}{_button("farther", "−", "Zoom out")}'
        f"{_button('closer', '+', 'Zoom in')}{_button('whole', 'Whole', 'The whole window')}{_button('keys', '?', 'Keys')}</span></div>"
    )
    yield (
        '<div id="lanes"><div><canvas id="canvas" tabindex="0" role="application" aria-roledescription="timeline" '
        'aria-label="Lanes of events over time: up and down choose a lane, n and p an event, question mark lists all keys" '
        'aria-describedby="said"></canvas></div></div>'
    )
    yield '<div id="said" role="status"></div><div id="tip" hidden aria-hidden="true"></div>'
    keys = "".join(f"<dt>{escape(key)}</dt><dd>{escape(what)}</dd>" for key, what in KEYS)
    yield (
        '<dialog id="help" aria-labelledby="help-title"><h2 id="help-title">Keys</h2>'
        f'<dl>{keys}</dl><form method="dialog"><button>Close</button></form></dialog>'
    )
    yield '<p class="legend">' + "".join(_legend(lanes)) + "</p>"
    yield (
        '<p class="quiet">Pale: events shorter than a pixel; how high it is dark: the share of time that they cover. '
        "An arrow leads from a call to the work that it launched.</p>"
    )


def _legend(lanes: list[Row]) -> Iterator[str]:
    """What the colours of calls and ranges mean; those of the others are their lanes'."""
    for group, names in (("calls", CALL_TONES), ("ranges", PHASE_TONES)):
        used = np.unique(np.concatenate([np.zeros(0, np.int64), *(row.tones for row in lanes if row.group == group)]))
        if len(used):
            yield f"<span>{escape('API calls:' if group == 'calls' else 'ranges:')}</span>"
        for tone in used.tolist():
            mark = f'<svg width="14" height="12" aria-hidden="true"><rect width="14" height="12" class="{classes_of(group, tone)}"/></svg>'
            yield f"<span>{mark} {escape(names[tone])}</span>"


def _button(name: str, text: str, said: str) -> str:
    return (
        f'<button type="button" id="{name}" aria-label="{escape(said)}" title="{escape(said)}">{escape(text)}</button>'
    )


def _findings(shown: Sequence[Finding], elsewhere: int) -> Iterator[str]:
    several = len({finding.gpu for finding in shown}) > 1
    lines = [
        (
            finding.severity or "",
            finding.rule,
            plain(finding.phase) + (f" on GPU {finding.gpu}" if several else ""),
            plain(finding.title),
            _saves(finding),
            plain(finding.remedy),
        )
        for finding in shown
    ]
    if lines:
        head = ("severity", "rule", "phase", "what is seen", "would save", "remedy")
        marks = [f' data-finding="{i}"' for i in range(len(lines))]
        yield table("Findings of knnscope explain", head, lines, marks=(1, marks))
    else:
        yield "<h2>Findings of knnscope explain</h2><p>None here.</p>"
    if elsewhere:
        yield f"<p>{elsewhere:,} {'more' if lines else 'elsewhere in the trace'}: knnscope explain shows all.</p>"


def _tables(lanes: list[Row], window: Window, trace: Trace) -> Iterator[str]:
    found: dict[tuple[str, int], tuple[int, int, int]] = {}
    for row in lanes:
        number, places = np.unique(row.events.name[row.which], return_inverse=True)
        start, end = row.events.start[row.which].astype(np.int64), row.events.end[row.which].astype(np.int64)
        took, seen = end - start, np.minimum(end, window.high) - np.maximum(start, window.low)
        longest = np.zeros(len(number), dtype=np.int64)
        np.maximum.at(longest, places, took)
        counts, total = np.bincount(places, minlength=len(number)), np.bincount(places, seen, len(number))
        kind = {"kernels": "kernel", "calls": "call", "ranges": "range"}.get(row.group, "copy")
        for name, *mine in zip(number.tolist(), counts.tolist(), total.tolist(), longest.tolist(), strict=True):
            before = found.get((kind, name), (0, 0, 0))
            found[kind, name] = (before[0] + mine[0], before[1] + int(mine[1]), max(before[2], mine[2]))
    order = sorted(found.items(), key=lambda item: (-item[1][1], item[0]))[:BUSIEST]
    lines = [
        (
            kind,
            trace.names[name],
            f"{count:,}",
            duration(total),
            about(total / (window.high - window.low)),
            duration(most),
        )
        for (kind, name), (count, total, most) in order
    ]
    head = ("what", "name", "times", "together", "of the window", "longest")
    title = f"Names with most time{f', {BUSIEST} of {len(found):,}' if len(found) > BUSIEST else ''}"
    yield table(title, head, lines, (2, 3, 4, 5), (1, [" data-name"] * len(lines)))
    yield table(
        "Lanes",
        ("lane", "events, bytes, time covered"),
        [(row.title, " · ".join(_figures(row, window))) for row in lanes],
    )


LONG, STACK = ' class="long"', ' class="stack"'
"""Of a cell with a sentence in it."""


def table(
    title: str,
    head: Sequence[str],
    lines: Iterable[Sequence[str]],
    right: Sequence[int] = (),
    marks: tuple[int, Sequence[str]] = (-1, ()),
) -> str:
    """A table under its heading; one of texts is a list on a narrow screen.

    Args:
        title: the heading.
        head: names of the columns.
        lines: cells.
        right: columns of numbers.
        marks: the number of a column, and an attribute for each of its cells.
    """
    stacked = len(head) > 3 and not right
    names_of = [f' data-head="{escape(name)}"' if stacked else "" for name in head]
    numbers = [' class="n"' if i in right else "" for i in range(len(head))]
    column, texts = marks
    body = [
        "<tr>"
        + "".join(
            f"<td{numbers[i] or (LONG if len(cell) > 30 else '')}{names_of[i]}{texts[at] if i == column else ''}>{escape(cell)}</td>"
            for i, cell in enumerate(line)
        )
        + "</tr>"
        for at, line in enumerate(lines)
    ]
    names = "".join(f'<th scope="col"{numbers[i]}>{escape(name)}</th>' for i, name in enumerate(head))
    return (
        f'<h2>{escape(title)}</h2><div class="scrolls" tabindex="0" role="region" aria-label="{escape(title)}">'
        f"<table{STACK if stacked else ''}><thead><tr>{names}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
