"""A timeline page taken apart again: its bytes, its texts, its events."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple

from knnscope.report.timeline_page import page
from knnscope.trace.excerpt import Window, inside, whole
from knnscope.trace.findings import Finding
from knnscope.trace.model import Copies, Trace, Work


class Parsed(HTMLParser):
    """A page's elements, its texts by element, and its blocks of data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.blocks: dict[str, str] = {}
        self.policy = ""
        self.open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        self.attributes |= set(known)
        if known.get("id"):
            self.ids.append(known["id"] or "")
        if known.get("http-equiv"):
            self.policy = known["content"] or ""
        if tag in ("td", "th"):
            self.cells.append("")
        self.open = known.get("id") or "script" if tag == "script" else tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open in ("head", "columns", "script", "style"):
            self.blocks[self.open] = self.blocks.get(self.open, "") + data
        if self.open in ("td", "th"):
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.open = ""


class Page(NamedTuple):
    """A page taken apart again: what the document says, the names, and each lane's columns."""

    parsed: Parsed
    head: dict[str, Any]
    names: list[str]
    lanes: list[dict[str, Any]]
    findings: list[list[tuple[int, int]]]
    text: str


def taken_apart(trace: Trace, window: Window | None = None, findings: tuple[Finding, ...] = ()) -> Page:
    """Write a page and read it by the format's description in pack.py."""
    file = io.StringIO()
    count = page.write(trace, window or whole(trace), findings, file)
    parsed = Parsed(file.getvalue())
    head = json.loads(parsed.blocks["head"])
    data = zlib.decompress(base64.b64decode(parsed.blocks["columns"], validate=True))
    at = 0

    def taken(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    names = taken(head["names"]["sizes"][0]).decode("utf-8").split("\n")
    names = names if head["names"]["count"] else []
    tones = [list(numbers(taken(size))) for size in head["names"]["sizes"][1:]]
    assert len(names) == len(tones[0]) == len(tones[1]) == head["names"]["count"]
    lanes = []
    for lane in head["lanes"]:
        raw = [list(numbers(taken(size))) for size in lane["columns"]]
        start, took, name, own, call, nbytes, memory = raw
        tone = tones[("calls", "ranges").index(lane["group"])] if lane["group"] in ("calls", "ranges") else None
        found = {
            "start": running([unsigned(v) for v in start[:1]] + start[1:]),
            "took": took,
            "name": [names[i] for i in name],
            "own": running([v + (i > 0) for i, v in enumerate(own)]),
            "call": running([unsigned(v) for v in call]),
            "nbytes": nbytes,
            "memory": [(v // 128 - 1, v % 128 - 1) for v in memory],
            "tone": [tone[i] if tone else 0 for i in name],
        }
        assert all(len(column) in (0, lane["count"]) for column in found.values())
        assert max(found["tone"], default=0) < lane["tones"]
        lanes.append({**lane, **found})
    places = []
    for finding in head["findings"]:
        begin, length = (list(numbers(taken(size))) for size in finding["sizes"])
        begin = running([unsigned(v) for v in begin[:1]] + begin[1:])
        places.append([(b, b + n) for b, n in zip(begin, length, strict=True)])
    assert at == len(data), "nothing is left over"
    assert count == sum(lane["count"] for lane in head["lanes"])
    return Page(parsed, head, names, lanes, places, file.getvalue())


def numbers(data: bytes) -> Iterator[int]:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    value = shift = 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield value
            value = shift = 0
    assert not shift


def unsigned(value: int) -> int:
    return -(value + 1) // 2 if value % 2 else value // 2


def running(values: list[int]) -> list[int]:
    total, found = 0, []
    for value in values:
        total += value
        found.append(total)
    return found


def expected(trace: Trace, window: Window) -> list[tuple[Any, ...]]:
    """Every event of which a part lies in the window: what it is, its start after the window's beginning, how long it takes, its name, and more."""
    found: list[tuple[Any, ...]] = []
    for kind, events in (("w", trace.kernels), ("w", trace.copies), ("c", trace.calls), ("r", trace.ranges)):
        for i in inside(events, window.low, window.high).tolist():
            start, end = int(events.start[i]), int(events.end[i])
            more: tuple[Any, ...] = ()
            if isinstance(events, Work):
                call = int(events.call[i])
                there = call >= 0 and call in inside(trace.calls, window.low, window.high)
                more = (trace.names[trace.calls.name[call]], int(trace.calls.start[call])) if there else (None, None)
            if isinstance(events, Copies):
                more += tuple(int(c[i]) for c in (events.nbytes, events.source, events.target))
            found.append((kind, start - window.low, end - start, trace.names[events.name[i]], *more))
    return sorted(found, key=repr)


def held(found: Page, window: Window) -> list[tuple[Any, ...]]:
    """The same, as the page holds it."""
    calls = {
        own: (lane["name"][i], lane["start"][i] + window.low)
        for lane in found.lanes
        if lane["group"] == "calls"
        for i, own in enumerate(lane["own"])
    }
    assert sorted(calls) == list(range(found.head["calls"]))
    every: list[tuple[Any, ...]] = []
    for lane in found.lanes:
        kind = {"calls": "c", "ranges": "r"}.get(lane["group"], "w")
        for i in range(lane["count"]):
            more: tuple[Any, ...] = ()
            if kind == "w":
                more = calls[lane["call"][i] - 1] if lane["call"][i] else (None, None)
                if lane["group"] != "kernels":
                    more += (lane["nbytes"][i], *lane["memory"][i])
            every.append((kind, lane["start"][i], lane["took"][i], lane["name"][i], *more))
    return sorted(every, key=repr)
