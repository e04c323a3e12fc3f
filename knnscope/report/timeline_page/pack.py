"""Events as bytes that a browser unpacks: columns of variable-length whole numbers, all of them deflated together.

A number takes 7 bits a byte, the lowest first; the highest bit says that more follow. A number with a sign is doubled, and less one where it is
negative. columns.js reads what is written here; lane by lane, in the order of ``COLUMNS``:

start: differences; the first, with a sign, is from the window's beginning, since an event may have begun before it. took: nanoseconds. name: number in
the list of names, in which those used most come first. own: of calls, differences of their numbers in the window, less one. call: of a GPU's work,
differences, with a sign, of the launching call's number plus one; 0 where none is known or it lies outside the window. nbytes: of copies. memory: of
copies, ``KINDS`` times the source plus the target, each plus one.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from knnscope.trace.intervals import Spans
from knnscope.trace.model import Calls, Copies, Trace, Work
from knnscope.trace.rows import Row

COLUMNS = ("start", "took", "name", "own", "call", "nbytes", "memory")
KINDS = 128
"""Types of memory are below it, by columns.small."""
CHUNK = 1 << 18
"""Numbers that are made bytes at once."""
LEVEL = 6
"""Of deflating: 9 takes five times as long and saves a hundredth."""


@dataclass(slots=True)
class Packer:
    """Bytes so far. ``put`` returns how many a column took."""

    parts: list[bytes] = field(default_factory=list)

    def put(self, column: Any) -> int:
        """Whole numbers from 0 up."""
        return self._add(varints(column))

    def text(self, lines: Iterable[str]) -> int:
        """Texts, a line each."""
        return self._add("\n".join(" ".join(line.splitlines()) for line in lines).encode("utf-8", "replace"))

    def _add(self, data: bytes) -> int:
        self.parts.append(data)
        return len(data)

    def base64(self) -> str:
        """All of it, deflated (zlib's format) and spelled in letters."""
        deflate = zlib.compressobj(LEVEL)
        return base64.b64encode(b"".join([*map(deflate.compress, self.parts), deflate.flush()])).decode("ascii")


def varints(column: Any) -> bytes:
    """Whole numbers below 2^64, seven bits a byte, the lowest first; the highest bit says that more follow."""
    return b"".join(_varints(column[at : at + CHUNK].astype(np.uint64)) for at in range(0, len(column), CHUNK))


def _varints(values: Any) -> bytes:
    most = max(1, -(-int(values.max()).bit_length() // 7))
    shifts = np.arange(0, 7 * most, 7, dtype=np.uint64)
    rest = values[:, None] >> shifts
    kept = rest > 0
    kept[:, 0] = True
    groups = (rest & np.uint64(127)).astype(np.uint8)
    groups[:, :-1] |= kept[:, 1:].astype(np.uint8) << 7
    return bytes(groups[kept].tobytes())


def signed(values: Any) -> Any:
    """Whole numbers with a sign as such from 0 up."""
    wide = values.astype(np.int64)
    return ((wide << 1) ^ (wide >> 63)).view(np.uint64)


def steps(values: Any) -> Any:
    """Differences of numbers that do not fall, the first of which is taken with its sign."""
    wide = values.astype(np.int64)
    found = np.empty(len(wide), dtype=np.uint64)
    found[1:] = (wide[1:] - wide[:-1]).view(np.uint64)
    found[:1] = signed(wide[:1])
    return found


@dataclass(frozen=True, slots=True)
class Used:
    """The names and calls of a window, numbered anew: names by how often they are used, calls in their order."""

    names: tuple[str, ...]
    number: Any
    """Of a name of the trace; the new one."""
    calls: Any
    """Numbers of the trace's calls."""

    @classmethod
    def of(cls, trace: Trace, rows: Sequence[Row]) -> Used:
        """What these lanes use."""
        counts = np.zeros(max(1, len(trace.names)), dtype=np.int64)
        for row in rows:
            counts += np.bincount(row.events.name[row.which], minlength=len(counts))
        used = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
        number = np.zeros(len(counts), dtype=np.int64)
        number[used] = np.arange(len(used))
        calls = [row.which for row in rows if isinstance(row.events, Calls)]
        return cls(
            tuple(trace.names[i] for i in used.tolist()),
            number,
            np.sort(np.concatenate(calls)) if calls else np.zeros(0, dtype=np.int64),
        )

    def call(self, numbers: Any) -> Any:
        """New numbers of calls, plus one; 0 for one that is not in the window."""
        if not len(self.calls):
            return np.zeros(len(numbers), dtype=np.int64)
        places = np.minimum(np.searchsorted(self.calls, numbers), len(self.calls) - 1)
        return np.where(self.calls[places] == numbers, places + 1, 0)


def pack_row(packer: Packer, row: Row, low: int, used: Used) -> list[int]:
    """A lane; returns how many bytes each column of ``COLUMNS`` took, 0 where it has none."""
    events, which = row.events, row.which
    start = events.start[which].astype(np.int64)
    sizes = dict.fromkeys(COLUMNS, 0)
    sizes["start"] = packer.put(steps(start - low))
    sizes["took"] = packer.put(events.end[which].astype(np.int64) - start)
    sizes["name"] = packer.put(used.number[events.name[which]])
    if isinstance(events, Calls):
        sizes["own"] = packer.put(np.diff(used.call(which), prepend=0) - 1)
    if isinstance(events, Work):
        sizes["call"] = packer.put(signed(np.diff(used.call(events.call[which]), prepend=0)))
    if isinstance(events, Copies):
        sizes["nbytes"] = packer.put(events.nbytes[which])
        kinds = (np.asarray(c)[which].astype(np.int64) + 1 for c in (events.source, events.target))
        sizes["memory"] = packer.put(next(kinds) * KINDS + next(kinds))
    return [sizes[name] for name in COLUMNS]


def pack_spans(packer: Packer, spans: Spans, low: int) -> list[int]:
    """Times, in order; returns how many bytes beginnings and lengths took."""
    return [packer.put(steps(spans[0] - low)), packer.put(spans[1] - spans[0])]


def pack_names(packer: Packer, rows: Sequence[Row], used: Used) -> list[int]:
    """The names, then the tone of each as a call and as a range; returns how many bytes each took."""
    sizes = [packer.text(used.names)]
    for group in ("calls", "ranges"):
        tones = np.zeros(len(used.names), dtype=np.int64)
        for row in rows:
            if row.group == group:
                tones[used.number[row.events.name[row.which]]] = row.tones
        sizes.append(packer.put(tones))
    return sizes
