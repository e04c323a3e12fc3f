"""Processes that tests start, looked at from outside: what is waited for is an event, and a limit is only for what hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LONG = 300.0
"""Seconds that nothing takes that does not hang, however busy the machine."""


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for it; fails where it never happens."""
    began = time.monotonic()
    while not happened():
        waited = time.monotonic() - began
        assert waited < LONG, f"never: {what}"
        time.sleep(min(0.1, max(0.005, waited / 20)))  # who looks all the time takes it from what he waits for


def fields(stat: Path) -> list[str]:
    """State, parent and so on of a process or thread; none where there is no such process any more."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def state(number: int) -> str:
    """S sleeps, R runs, T is stopped, Z has ended and nobody has waited for it yet; empty where it is gone."""
    return (fields(Path(f"/proc/{number}/stat")) or [""])[0]


def gone(number: int) -> bool:
    """Whether it has ended."""
    return state(number) in ("", "Z", "X")


def stopped(number: int) -> bool:
    """Whether every thread of it is."""
    threads = [fields(stat) for stat in Path(f"/proc/{number}/task").glob("*/stat")]
    return bool(threads) and all(one[:1] == ["T"] for one in threads)


def offspring(parent: int, ended_too: bool = False) -> set[int]:
    """Processes whose parent this is."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if (one := fields(stat)) and int(one[1]) == parent and (ended_too or one[0] not in "ZX"):
            found.add(int(stat.parent.name))
    return found
