"""Streams of the current GPU: what tells them apart, whether one is being captured in a graph, and memory that several read."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

import cupy as cp

from knnscope.errors import KnnscopeError

PER_THREAD = 2
"""cudaStreamPerThread: in every thread a stream of its own has this number."""
CAPTURED, RELAXED = 1, 2
"""CU_STREAM_CAPTURE_STATUS_ACTIVE, CU_STREAM_CAPTURE_MODE_RELAXED."""

Key = tuple[int, int]


def key(stream: Any) -> Key:
    """What tells a stream from all others of this process."""
    number = int(stream.ptr)
    return number, threading.get_ident() if number == PER_THREAD else 0


@cache
def _capture_info() -> Any:
    return ctypes.CDLL("libcuda.so.1").cuStreamGetCaptureInfo_v2


@cache
def _exchange() -> Any:
    return ctypes.CDLL("libcuda.so.1").cuThreadExchangeStreamCaptureMode


@cache
def _beside(_device: int) -> Any:
    """A stream of the current GPU on which nothing is searched."""
    return cp.cuda.Stream(non_blocking=True)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Make memory for a graph while it is captured: written when this ends, and nobody else's.

    What the pool gives on the captured stream may have been a search's that is still under way there, while the graph is started on another stream.
    """
    mode, stream = ctypes.c_int(RELAXED), _beside(cp.cuda.runtime.getDevice())
    _exchange()(ctypes.byref(mode))  # else a driver that captures for PyTorch refuses to give memory
    try:
        with stream:
            yield
        stream.synchronize()
    finally:
        _exchange()(ctypes.byref(mode))


def capture(stream: Any) -> int:
    """The number of the graph in which a stream is being captured; 0: none. Streams that are joined in one graph have the same.

    Raises:
        KnnscopeError: the driver does not say.
    """
    if not stream.ptr:  # the default stream cannot be
        return 0
    status, number = ctypes.c_int(), ctypes.c_uint64()
    code = _capture_info()(ctypes.c_void_p(stream.ptr), ctypes.byref(status), ctypes.byref(number), None, None, None)
    if code:
        raise KnnscopeError(f"the driver does not say whether this stream is captured in a graph (CUDA error {code})")
    return number.value + 1 if status.value == CAPTURED else 0  # the driver does not say where its numbers begin


class Readers:
    """Streams that read memory of one owner, which the current stream writes now, and which goes back to that one's pool.

    Each reads when it is written; and what that stream does next with the memory, when the owner is gone, comes after all that they had to do.
    """

    def __init__(self, owner: Any) -> None:
        """Of an object that holds memory of the current GPU, when all is queued that writes it."""
        device = cp.cuda.runtime.getDevice()
        self._home, self._written = cp.cuda.get_current_stream(), cp.cuda.Event(disable_timing=True)
        self._written.record(self._home)
        self._known: dict[Key, Any] = {key(self._home): self._home}
        weakref.finalize(owner, _let_go, device, self._home, self._known).atexit = False

    def has(self, stream: Any) -> bool:
        """Whether it reads the memory already."""
        return key(stream) in self._known

    def add(self, stream: Any) -> Key:
        """What is queued on a stream from now on reads the memory; what tells this stream from others."""
        found = key(stream)
        if found not in self._known:
            stream.wait_event(self._written)
            self._known[found] = stream  # kept, so that its number is no other's
        return found


def _let_go(device: int, home: Any, known: dict[Key, Any]) -> None:
    """The owner's stream goes on when all that read its memory have come as far."""
    others = [stream for stream in known.values() if stream is not home]
    if not others:
        return
    with contextlib.suppress(Exception), cp.cuda.Device(device):  # the process may be ending
        if any(stream.ptr == PER_THREAD for stream in known.values()):  # of threads that this one cannot name
            cp.cuda.runtime.deviceSynchronize()
            return
        for stream in others:
            if capture(home) or capture(stream):  # who captures a search keeps its memory
                continue
            ended = cp.cuda.Event(disable_timing=True)
            ended.record(stream)
            home.wait_event(ended)
