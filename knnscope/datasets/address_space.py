"""A limit on this process' address space for as long as something is read: of a library that allocates whatever a file claims."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

_lock = threading.Lock()
_inside = 0
_before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@contextlib.contextmanager
def grows_by(room: int) -> Iterator[None]:
    """Hold the process to so many bytes more than it has now; of several threads inside, to what gives each its room.

    The last one out restores the limit that the first one found. A lower limit stays.
    """
    global _inside, _before
    limit = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize() + room
    with _lock:
        if not _inside:
            _before = resource.getrlimit(resource.RLIMIT_AS)
        _inside += 1
        held = resource.getrlimit(resource.RLIMIT_AS)[0]
        if _inside > 1 and held != _before[0]:
            limit = max(limit, held)
        if _before[0] == resource.RLIM_INFINITY or limit < _before[0]:
            resource.setrlimit(resource.RLIMIT_AS, (limit, _before[1]))
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                resource.setrlimit(resource.RLIMIT_AS, _before)


def _forked() -> None:
    """Whoever was inside is not in this process."""
    global _lock, _inside
    _lock = threading.Lock()
    if _inside:
        _inside = 0
        resource.setrlimit(resource.RLIMIT_AS, _before)


os.register_at_fork(after_in_child=_forked)
