"""NVTX ranges of CUPTI's markers: a beginning and an end have the same id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knnscope.profile.schema import DOMAIN, PUSH_POP

START, END = 1 << 1, 1 << 2
"""CUPTI_ACTIVITY_FLAG_MARKER_START and _END."""
Row = tuple[int, int | None, int, str | None, int, int]
COLUMNS = ("start", "end", "eventType", "text", "globalTid", "domainId")


def rows(markers: Iterable[Any], began: int, pid: int) -> list[Row]:
    """Rows of ``COLUMNS``: a domain's name where a library has one of its own, and ranges; one that is open when recording ends has no end.

    Args:
        markers: CUPTI's records.
        began: its clock when recording began.
        pid: of a global id.
    """
    open_ones: dict[int, Any] = {}
    pairs: list[tuple[Any, int | None]] = []
    for r in sorted(markers, key=lambda r: r.timestamp):
        if int(r.flags_) & START:
            open_ones[r.id] = r
        elif int(r.flags_) & END and r.id in open_ones:
            pairs.append((open_ones.pop(r.id), r.timestamp - began))
    pairs += [(r, None) for r in open_ones.values()]
    domains: dict[str, int] = {"": 0}
    found: list[Row] = []
    for r, end in pairs:
        name = getattr(r, "domain", None)
        domain = domains.setdefault(name if isinstance(name, str) else "", len(domains))
        where = pid | (getattr(r.object_id.pt, "thread_id", 0) & 0xFFFFFF)
        found.append((r.timestamp - began, end, PUSH_POP, r.name, where, domain))
    named: list[Row] = [(0, None, DOMAIN, name, pid, number) for name, number in domains.items() if number]
    return named + sorted(found, key=lambda row: row[0])
