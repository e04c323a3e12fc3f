"""As much of CuPy as streams of copies need, on the host: what is queued runs later, in any order that streams and events allow."""

from __future__ import annotations

import ctypes
import importlib
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


class Array(np.ndarray[Any, Any]):
    """An array whose memory has an address, as CuPy's."""

    def __new__(cls, shape: Any, dtype: Any = float, memory: Any = None) -> Array:
        """New memory, or given one."""
        if memory is None:
            return np.zeros(shape, dtype).view(cls)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        made = np.frombuffer((ctypes.c_char * size).from_address(memory.ptr), dtype).reshape(shape).view(cls)
        made.owner = memory
        return made

    owner: Any = None
    device: Any = SimpleNamespace(id=0)
    data = property(lambda self: SimpleNamespace(ptr=self.ctypes.data))  # type: ignore[assignment]


class Buffer(Array):
    """Bytes of the host, as CuPy gives them."""

    def __new__(cls, size: int) -> Buffer:
        """So many."""
        return np.empty(size, np.uint8).view(cls)

    ptr = property(lambda self: self.ctypes.data)


class Event:
    """What was recorded last."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.mark: list[bool] | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Behind all that the stream has."""
        mark = self.mark = [False]
        (stream or self.gpu.current).queue(lambda: mark.__setitem__(0, True))


class Stream:
    """Work in its order."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.work = gpu, deque[tuple[list[bool] | None, Callable[[], Any]]]()
        gpu.streams.append(self)
        self.ptr = 100 + len(gpu.streams)  # small numbers have a meaning
        self.before = list[Stream]()

    def queue(self, work: Callable[[], Any]) -> None:
        """Do it later."""
        self.work.append((None, work))

    def wait_event(self, event: Event) -> None:
        """Go on when what was recorded is over."""
        self.work.append((event.mark, lambda: None))

    def synchronize(self) -> None:
        """Do all."""
        self.gpu.run()

    def __enter__(self) -> None:
        self.before.append(self.gpu.current)
        self.gpu.current = self

    def __exit__(self, *_: object) -> None:
        self.gpu.current = self.before.pop()


class Gpu:
    """Memory and streams. free: bytes of memory. graphs: numbers of those in which streams are captured."""

    def __init__(self, free: int, seed: int) -> None:
        self.graphs = dict[Stream, int]()
        self.mode = 0  # in which this thread captures: what is asked for in others than 2 is refused by a driver
        self.asked = list[tuple[Stream, int]]()  # for memory: on which stream, in which mode
        self.free, self.streams, self.random = free, list[Stream](), random.Random(seed)
        self.current, self.is_late = Stream(self), self.random.random() < 0.5

    def run(self) -> None:
        """All that is queued, by streams that take turns at random; some do a lot before others."""
        while any(stream.work for stream in self.streams):
            able = [s for s in self.streams if s.work and (s.work[0][0] is None or s.work[0][0][0])]
            assert able, "streams wait for each other"
            chosen = self.random.choice(able) if self.random.random() < 0.5 else able[-1 if self.is_late else 0]
            chosen.work.popleft()[1]()

    def alloc(self, size: int) -> Any:
        """Memory, full of what nobody has written."""
        if size > self.free:
            raise self.cupy.cuda.memory.OutOfMemoryError
        self.free -= size
        self.asked.append((self.current, self.mode))
        made = Array(size, np.uint8)
        made.fill(0xA5)
        return SimpleNamespace(ptr=made.ctypes.data, owner=made)

    def asarray(self, array: Any) -> Array:
        """A copy, queued, until which there is what nobody has written; an array whose columns lie together stays so, as CuPy has it."""
        taken = np.array(array, order="F" if array.flags.fnc else "C")
        made = np.frombuffer(b"\xa5" * taken.nbytes, np.uint8).copy().view(taken.dtype)
        made = made.reshape(taken.shape, order="F" if array.flags.fnc else "C").view(Array)
        self.current.queue(lambda: np.copyto(made, taken))
        return made

    def captured(self, stream: Any, status: Any, number: Any, *_nothing: None) -> int:
        """What the driver says of a stream: whether it is captured, and in which graph."""
        found = next((self.graphs[one] for one in self.graphs if one.ptr == stream.value), None)
        status._obj.value, number._obj.value = found is not None, found or 0
        return 0

    def exchange(self, mode: Any) -> int:
        """Another way for this thread to capture."""
        self.mode, mode._obj.value = mode._obj.value, self.mode
        return 0

    def copy(self, to: int, source: int, size: int, _kind: int, stream: int) -> None:
        """Queue a copy."""
        next(one for one in self.streams if one.ptr == stream).queue(lambda: ctypes.memmove(to, source, size))

    @property
    def cupy(self) -> Any:
        """The module."""
        return sys.modules["cupy"]


PACKAGE = "knnscope.certified.cuda"


@contextmanager
def forgotten() -> Iterator[None]:
    """Modules of the package are imported anew, and forgotten at the end."""
    package = importlib.import_module(PACKAGE)

    def taken() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(f"{PACKAGE}.")}

    before = taken()
    for name in before:
        delattr(package, name.rpartition(".")[2])
    try:
        yield
    finally:
        for name in taken():
            delattr(package, name.rpartition(".")[2])
        for name, module in before.items():
            sys.modules[name] = module
            setattr(package, name.rpartition(".")[2], module)


def installed(monkeypatch: pytest.MonkeyPatch, free: int, seed: int = 0) -> Gpu:
    """A GPU of so much memory in the place of CuPy, for modules that are imported from now on; see ``forgotten``."""
    gpu = Gpu(free, seed)

    class OutOfMemoryError(Exception):
        pass

    runtime = SimpleNamespace(
        memcpyAsync=gpu.copy, memGetInfo=lambda: (gpu.free, 0), CUDARuntimeError=RuntimeError, deviceSynchronize=gpu.run,
        getDevice=lambda: 0, setDevice=lambda _device: None, memcpyHostToDevice=1, memcpyDeviceToHost=2,
    )  # fmt: skip

    def pinned(size: int, _flags: int = 0) -> Any:
        made = np.empty(size, np.uint8)
        return SimpleNamespace(ptr=made.ctypes.data, owner=made)

    class Device:
        def __init__(self, *_: Any) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    def asnumpy(array: Any, stream: Any = None) -> Any:
        gpu.run()
        return np.array(array)

    cuda = SimpleNamespace(
        runtime=runtime, alloc=gpu.alloc, Event=lambda **_: Event(gpu), Stream=lambda **_: Stream(gpu), Device=Device, PinnedMemory=pinned,
        alloc_pinned_memory=Buffer,
        get_current_stream=lambda: gpu.current, memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        UnownedMemory=lambda ptr, _size, owner, _device: SimpleNamespace(ptr=ptr, owner=owner),
        MemoryPointer=lambda memory, past: SimpleNamespace(ptr=memory.ptr + past, owner=memory),
    )  # fmt: skip
    cupy: Any = ModuleType("cupy")
    names = {
        name: getattr(np, name)
        for name in ("uint8", "uint32", "uint64", "int16", "int32", "int64", "float32", "float64", "bool_", "inf")
    }
    for name, value in names.items():
        setattr(cupy, name, value)
    cupy.cuda, cupy.ndarray, cupy.asnumpy, cupy.asarray = cuda, Array, asnumpy, gpu.asarray

    def empty(shape: Any, dtype: Any = float) -> Array:
        gpu.asked.append((gpu.current, gpu.mode))
        return Array(shape, dtype)

    cupy.empty = cupy.zeros = empty
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
    fakes = {"cupy": cupy}
    for name in ("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.api", "cupy_backends.cuda.libs"):
        fakes[name] = ModuleType(name)
    api: Any = fakes["cupy_backends.cuda.api"]
    libs: Any = fakes["cupy_backends.cuda.libs"]
    api.driver, libs.nvrtc = SimpleNamespace(), SimpleNamespace()
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)
    streams: Any = importlib.import_module(f"{PACKAGE}.streams")  # which asks the driver
    monkeypatch.setattr(streams, "_capture_info", lambda: gpu.captured)
    monkeypatch.setattr(streams, "_exchange", lambda: gpu.exchange)
    return gpu


def bytes_at(address: int, size: int) -> np.ndarray:
    """What lies there, copied."""
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8).copy()
