"""How a measurement ends without figures: the statuses of compare and of the ladder, and why, in one line."""

from __future__ import annotations

from knnscope.errors import KnnscopeError, MissingLibraryError, NoGpuError, UnsupportedError

OUT_OF_MEMORY = (
    "outofmemory",
    "out of memory",
    "memoryerror",
    "bad_alloc",
    "cannot allocate memory",
    "memory allocation still failed",  # OpenBLAS
    "cudaerrormemoryallocation",
)


class FailedError(Exception):
    """A case ended without figures: its status, and why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def failure(error: Exception) -> FailedError:
    """The status and the reason of what an engine or a rung raised: it fails in any way it likes."""
    return FailedError(_status(error), _reason(error))


def out_of_memory(text: str) -> bool:
    """Whether a library says that it found no memory."""
    return any(sign in text.lower() for sign in OUT_OF_MEMORY)


def _status(error: Exception) -> str:
    for cls, status in ((MissingLibraryError, "missing"), (NoGpuError, "no-gpu"), (UnsupportedError, "unsupported")):
        if isinstance(error, cls):
            return status
    if isinstance(error, MemoryError) or out_of_memory(f"{type(error).__name__} {error}"):
        return "oom"
    return "unsupported" if isinstance(error, KnnscopeError) else "crashed"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, KnnscopeError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
