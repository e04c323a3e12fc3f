"""Rows of a file for compiled code: sixteen are asked for together, then read one after another, so that a disk has them on their way at a time."""

from __future__ import annotations

from typing import Any

from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.llvm import Emit, T, instructions

SOON = 3
"""POSIX_FADV_WILLNEED."""
INTERRUPTED = 4
"""EINTR: a signal came first. The read is made again, as Python does."""


@instructions
def _ask(emit: Emit, handle: Any, place: Any, size: Any) -> None:
    """Let the system read some bytes soon; what it says to that does not matter."""
    emit.call("posix_fadvise", T.I64, handle, place, size, emit.number(SOON))


@instructions
def _read(emit: Emit, handle: Any, to: Any, size: Any, place: Any) -> Any:
    """Read bytes of a file to an address: how many, less than 0 for an error."""
    return emit.call("pread", T.I64, handle, to, size, place)


@instructions
def _reason(emit: Emit) -> Any:
    """Errno of this thread's last call."""
    b = emit.builder
    return b.zext(b.load(emit.call("__errno_location", T.POINTER), T.I32, align=4), T.I64)


@compiled()
def fetched(places: Any, file: tuple[int, int], to: int, width: int) -> bool:
    """Read rows; False where one is not there, or the disk fails.

    Args:
        places: int64: their numbers.
        file: its descriptor, and the byte of the first row.
        to: address, written.
        width: bytes of a row.
    """
    for i in range(places.shape[0]):
        if i == 0 or places[i] != places[i - 1]:
            _ask(file[0], file[1] + places[i] * width, width)
    for i in range(places.shape[0]):
        done = 0
        while done < width:
            more = _read(file[0], to + i * width + done, width - done, file[1] + places[i] * width + done)
            if more > 0:  # perhaps not all: network file systems give what they have
                done += more
            elif more == 0 or _reason() != INTERRUPTED:
                return False
    return True
