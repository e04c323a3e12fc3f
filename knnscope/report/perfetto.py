"""A trace as Chrome trace-event JSON, which https://ui.perfetto.dev opens; written as it is made, however many events there are.

An arrow from a call to the work that it launched is a pair of flow events, after all others: "s" at the call's beginning, and "f" at the work's, which binds
to the slice that encloses it (bp: e), since without that it would bind to the next one. A viewer reads them in order of time and follows an id once: so
each piece of work has an id of its own, and what began before its call, by clocks that disagree, has no arrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count, repeat
from typing import IO, Any, NamedTuple

import numpy as np

from knnscope.trace.excerpt import Window, inside
from knnscope.trace.model import Copies, Events, Gpu, Trace, Work
from knnscope.trace.rows import COPIES, OTHER_COPIES
from knnscope.units import short

CHUNK = 1 << 14
"""Events that are text at once."""
SIDE_BY_SIDE = 8
"""Tracks for events of one stream or thread that overlap without nesting; viewers show such events wrongly on one track."""
NONE = np.zeros(0, dtype=np.int64)
KIND_NAMES = {kind: title for title, kinds in COPIES for kind in kinds}
MEMORY_NAMES = {0: "pageable", 1: "pinned", 2: "device", 3: "array", 4: "managed"}


def write(trace: Trace, window: Window, file: IO[str]) -> int:
    """Everything of which a part lies in the window, uncut; returns the number of events."""
    origin = trace.span[0]
    written = 0
    about = {"gpu": trace.gpu.name, "recorder": trace.recorder, "window": window.title}
    file.write(f'{{"displayTimeUnit": "ns",\n"otherData": {json.dumps(about)},\n"traceEvents": [\n')
    before = ""
    for lines in _parts(trace, window, origin):
        for line in lines:
            file.write(before)
            file.write(line)
            before = ",\n"
            written += line.startswith('{"ph":"X"')
    file.write("\n]}\n")
    return written


class Places:
    """On which process and track events stand: of each table a number an event, 0 where it is not shown."""

    def __init__(self, *tables: Events) -> None:
        self.of = {id(events): np.zeros(len(events), dtype=np.int32) for events in tables}
        self.known: list[tuple[int, int]] = [(0, 0)] * SIDE_BY_SIDE

    def put(self, events: Events, mine: Any, pid: int, number: int, track: Any) -> None:
        """These events stand on tracks beside each other."""
        self.of[id(events)][mine] = len(self.known) + track
        self.known += [(pid, _tid(number, extra)) for extra in range(SIDE_BY_SIDE)]


def _parts(trace: Trace, window: Window, origin: int) -> Iterator[Iterable[str]]:
    names = [json.dumps(short(name, 200)) for name in trace.names]
    numbers = count(1)
    processes: dict[tuple[str, int], int] = {}

    def process(what: str, number: int, title: str) -> Iterator[str]:
        if (what, number) not in processes:
            processes[what, number] = next(numbers)
            yield _meta("process_name", processes[what, number], 0, title)

    shown = [
        inside(events, window.low, window.high) for events in (trace.kernels, trace.copies, trace.calls, trace.ranges)
    ]
    kernels_of, copies_of = _grouped(trace.kernels.lane, shown[0]), _grouped(trace.copies.lane, shown[1])
    streams: dict[int, int] = {}
    places = Places(trace.kernels, trace.copies, trace.calls)
    for lane in sorted({*kernels_of, *copies_of}, key=lambda number: (trace.lanes[number].gpu, trace.lanes[number])):
        gpu = trace.lanes[lane].gpu
        yield process("gpu", gpu, f"GPU {gpu} {short(trace.gpus.get(gpu, Gpu()).name, 100)}")
        pid = processes["gpu", gpu]
        stream = streams[gpu] = streams.get(gpu, 0) + 1  # streams of several programs may have the same number
        kernels, copies = kernels_of.get(lane, NONE), copies_of.get(lane, NONE)
        start = np.concatenate([trace.kernels.start[kernels], trace.copies.start[copies]])
        end = np.concatenate([trace.kernels.end[kernels], trace.copies.end[copies]])
        track = tracks(start, end)
        yield _track_names(pid, stream, track, f"stream {trace.lanes[lane].stream}")
        tid = _tid(stream, track)
        places.put(trace.kernels, kernels, pid, stream, track[: len(kernels)])
        places.put(trace.copies, copies, pid, stream, track[len(kernels) :])
        yield _events(trace.kernels, kernels, names, origin, Track(pid, tid[: len(kernels)], "kernel"))
        yield _events(trace.copies, copies, names, origin, Track(pid, tid[len(kernels) :], "copy"))
    for what, category, events, groups in (
        ("NVTX", "range", trace.ranges, _grouped(trace.ranges.thread, shown[3])),
        ("API", "call", trace.calls, _grouped(trace.calls.thread, shown[2])),
    ):
        for thread, mine in groups.items():
            number, own = (thread >> 24) & 0xFFFFFF, thread & 0xFFFFFF
            yield process("host", number, f"host process {number}")
            pid = processes["host", number]
            track = tracks(events.start[mine], events.end[mine])
            base = 2 * own + (what == "API")  # ranges above the calls that they hold
            yield _track_names(pid, base, track, f"{what}, thread {own}")
            yield _events(events, mine, names, origin, Track(pid, _tid(base, track), category))
            if what == "API":
                places.put(events, mine, pid, base, track)
    yield _arrows(trace, trace.kernels, places, origin, 1)
    yield _arrows(trace, trace.copies, places, origin, 1 + len(trace.kernels))


def _grouped(keys: Any, chosen: Any) -> dict[int, Any]:
    """The chosen events by key, each group in their order."""
    order = chosen[np.argsort(keys[chosen], kind="stable")]
    different, first = np.unique(keys[order], return_index=True)
    return dict(zip(different.tolist(), np.split(order, first[1:]), strict=True)) if len(order) else {}


def _track_names(pid: int, number: int, track: Any, title: str) -> Iterator[str]:
    for extra in range(int(track.max()) + 1):
        yield _meta("thread_name", pid, _tid(number, extra), title + (f", overlapping {extra}" if extra else ""))


def tracks(start: Any, end: Any) -> Any:
    """A track for each event on which it nests in, or is apart from, all others; 0 for nearly all of them."""
    found = np.zeros(len(start), dtype=np.int64)
    order = np.lexsort((-end, start))
    for track in range(SIDE_BY_SIDE - 1):
        begins, ends = start[order], end[order]
        reach = np.maximum.accumulate(ends) if len(ends) else ends
        over = _crossed(begins, ends, reach)
        if not over.any():
            break
        found[order[over]] = track + 1
        order = order[over]
    return found


def _crossed(begins: Any, ends: Any, reach: Any) -> Any:
    """Which events end after one in which they begin; in order of begin, the longer first."""
    over, nested = np.zeros(len(begins), dtype=bool), np.zeros(len(begins), dtype=bool)
    nested[1:] = begins[1:] < reach[:-1]
    open_ends: list[int] = []
    for i in np.flatnonzero(nested | np.append(nested[1:], False)).tolist():
        while open_ends and open_ends[-1] <= begins[i]:
            open_ends.pop()
        if open_ends and open_ends[-1] < ends[i]:
            over[i] = True
        else:
            open_ends.append(int(ends[i]))
    return over


class Track(NamedTuple):
    """Where events are shown: process, thread (one number an event), and their category."""

    pid: int
    tid: Any
    category: str


def _events(events: Events, mine: Any, names: list[str], origin: int, track: Track) -> Iterator[str]:
    pid, tid, category = track
    for at in range(0, len(mine), CHUNK):
        part = mine[at : at + CHUNK]
        start = (events.start[part].astype(np.int64) - origin).tolist()
        length = (events.end[part].astype(np.int64) - events.start[part]).tolist()
        called = [names[i] for i in events.name[part].tolist()]
        args = _args(events, part) if isinstance(events, Copies) else repeat("")
        for s, d, name, t, arg in zip(start, length, called, tid[at : at + CHUNK].tolist(), args, strict=False):
            yield (
                f'{{"ph":"X","pid":{pid},"tid":{t},"ts":{s // 1000}.{s % 1000:03d},"dur":{d // 1000}.{d % 1000:03d},'
                f'"name":{name},"cat":"{category}"{arg}}}'
            )


def _arrows(trace: Trace, work: Work, places: Places, origin: int, first: int) -> Iterator[str]:
    """A pair for each piece of work that is shown, as is its call; ids from ``first`` on."""
    calls, works = places.of[id(trace.calls)], places.of[id(work)]
    for at in range(0, len(work), CHUNK):
        mine = np.arange(at, min(at + CHUNK, len(work)))
        mine = mine[(works[mine] > 0) & (work.call[mine] >= 0)]
        mine = mine[calls[work.call[mine]] > 0]
        call = work.call[mine]
        forward = work.start[mine] >= trace.calls.start[call]
        mine, call = mine[forward], call[forward]
        for which, place, start in (
            ('"ph":"s"', calls[call], trace.calls.start[call]),
            ('"ph":"f","bp":"e"', works[mine], work.start[mine]),
        ):
            columns = (first + mine, place, start.astype(np.int64) - origin)
            for number, where, s in zip(*(column.tolist() for column in columns), strict=True):
                pid, tid = places.known[where]
                yield (
                    f'{{{which},"id":{number},"pid":{pid},"tid":{tid},"ts":{s // 1000}.{s % 1000:03d},'
                    '"name":"launch","cat":"launch"}'
                )


def _args(copies: Copies, part: Any) -> Iterator[str]:
    columns = (c[part].tolist() for c in (copies.nbytes, copies.kind, copies.source, copies.target))
    for nbytes, kind, source, target in zip(*columns, strict=True):
        memory = "".join(
            f',"{key}":"{MEMORY_NAMES[value]}"'
            for key, value in (("from", source), ("to", target))
            if value in MEMORY_NAMES
        )
        what = KIND_NAMES.get(kind, OTHER_COPIES)
        yield f',"args":{{"bytes":{nbytes},"kind":"{"fill" if what == "fills" else what}"{memory}}}'


def _meta(what: str, pid: int, tid: int, name: str) -> str:
    return json.dumps({"ph": "M", "pid": pid, "tid": tid, "name": what, "args": {"name": name}})


def _tid(number: int, track: Any) -> Any:
    return number * SIDE_BY_SIDE + track + 1
