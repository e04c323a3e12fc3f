"""Kernels of certified search, compiled for a kind of rows, and started with one structure of arguments each."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cupy as cp
from cupy_backends.cuda.api import driver
from cupy_backends.cuda.libs import nvrtc

from knnscope.errors import GpuFullError, KnnscopeError
from knnscope.kernels import sources
from knnscope.store import home, make_folder, whole_file

MAX_DYNAMIC_SHARED = 8
"""CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES."""
NO_MEMORY, LASTING = 2, {700, 702, 709, 710, *range(714, 720)}
"""CUDA_ERROR_OUT_OF_MEMORY; and those after which a process cannot go on, from CUDA_ERROR_ILLEGAL_ADDRESS to _LAUNCH_FAILED."""
POINTER, LONG, INT, DOUBLE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_double
SHORT, BYTE = ctypes.c_uint16, ctypes.c_uint8


def pointer(array: Any) -> int | None:
    """Where an array begins, for a structure; None stays None."""
    return None if array is None else int(array.data.ptr)


def structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    """A structure of C with these fields, in this order."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_Config = structure(
    "_Config",
    **dict.fromkeys(("x", "y", "z", "threads_x", "threads_y", "threads_z", "shared"), ctypes.c_uint),
    stream=POINTER, attributes=POINTER, count=ctypes.c_uint,
)  # fmt: skip
"""CUlaunchConfig."""
_Attribute = structure("_Attribute", id=ctypes.c_int64, value=ctypes.c_int32 * 16)
"""CUlaunchAttribute: a number, and 64 bytes."""
_TOGETHER, _EARLY = (_Attribute(number, (ctypes.c_int32 * 16)(1)) for number in (2, 6))
"""CU_LAUNCH_ATTRIBUTE_COOPERATIVE and _PROGRAMMATIC_STREAM_SERIALIZATION."""


@cache
def _cuda() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


@dataclass(frozen=True, slots=True)
class Launcher:
    """A compiled kernel; ``kept`` holds the module that it is part of. knows_early: whether the device knows of that (``Prepared``)."""

    function: int
    kept: Any
    knows_early: bool

    def __call__(self, grid: tuple[int, ...], threads: int, *arguments: Any, shared: int = 0) -> None:
        """Queue it on the current stream.

        Args:
            grid: blocks along x, y, z.
            threads: of a block.
            arguments: ctypes values, as the kernel takes them.
            shared: bytes of dynamic shared memory.
        """
        values = [_value(argument) for argument in arguments]
        pointers = (POINTER * len(values))(*(ctypes.addressof(value) for value in values))
        x, y, z = (*grid, 1, 1)[:3]
        stream = cp.cuda.get_current_stream().ptr
        driver.launchKernel(self.function, x, y, z, threads, 1, 1, shared, stream, ctypes.addressof(pointers), 0)

    def clusters(self, blocks: int, threads: int, shared: int) -> int:
        """How many clusters of so many blocks the current device has room for at once.

        Args:
            blocks: of a cluster, as the kernel says.
            threads: of a block.
            shared: bytes of its dynamic shared memory.

        Raises:
            KnnscopeError: it has room for none.
        """
        found = ctypes.c_int()
        config = _Config(blocks, 1, 1, threads, 1, 1, shared, None, None, 0)
        code = _cuda().cuOccupancyMaxActiveClusters(ctypes.byref(found), POINTER(self.function), ctypes.byref(config))
        if code or not found.value:
            raise KnnscopeError(f"this GPU has no room for clusters of {blocks} blocks (CUDA error {code})")
        return found.value


class Prepared:
    """A kernel that is started again and again with arguments of the same memory: what is made for a launch is made once."""

    def __init__(self, launcher: Launcher, shape: tuple[Any, int, int], *given: Any, together: bool = False) -> None:
        """Of blocks, threads and bytes of dynamic shared memory.

        Args:
            launcher: the kernel.
            shape: blocks, or blocks along x and y; threads of one; bytes of its shared memory.
            given: its arguments, ctypes values and structures, read at each start.
            together: its blocks wait for each other: all are there at once, or it does not start. Else it may begin before the kernel before
                it has ended, and waits for that itself.
        """
        blocks, threads, shared = shape
        x, y = blocks if isinstance(blocks, tuple) else (blocks, 1)
        attribute = _TOGETHER if together else _EARLY
        flags = int(together or launcher.knows_early)
        self._config = _Config(x, y, 1, threads, 1, 1, shared, None, ctypes.addressof(attribute), flags)
        self._kept = launcher, given
        self._pointers = (POINTER * len(given))(*(ctypes.addressof(one) for one in given))
        self._launch = _cuda().cuLaunchKernelEx
        self._arguments = ctypes.byref(self._config), POINTER(launcher.function), self._pointers, None

    def __call__(self, stream: int) -> None:
        """Queue it on a stream."""
        self._config.stream = stream
        if code := self._launch(*self._arguments):
            why = "a process can do no more on the GPU after such an error: start a new one"
            if code == NO_MEMORY:
                raise GpuFullError(
                    "the GPU's memory is full: a kernel of certified search could not be started, use device='cpu'"
                )
            if code not in LASTING:
                why = "see CUresult in the manual of CUDA's driver"
            raise KnnscopeError(f"a kernel of certified search could not be started (CUDA error {code}): {why}")


def _value(argument: Any) -> Any:
    if isinstance(argument, cp.ndarray) or argument is None:
        return POINTER(pointer(argument))
    return argument


_allowed: dict[int, int] = {}
"""Bytes of shared memory that functions may have."""
_allowing = threading.Lock()


@cache
def kernel(source: sources.Source, name: str, device: int, shared: int = 0) -> Launcher:
    """A kernel of a source on a device; ``shared``: bytes of dynamic shared memory that a launch may ask for."""
    with cp.cuda.Device(device):
        found = _module(source, device).get_function(name)
        with _allowing:
            if shared > _allowed.get(found.ptr, 0):  # less would take room from who has asked for more
                driver.funcSetAttribute(found.ptr, MAX_DYNAMIC_SHARED, shared)
                _allowed[found.ptr] = shared
        return Launcher(int(found.ptr), found, int(cp.cuda.Device(device).compute_capability) >= 90)


@cache
def _module(source: sources.Source, device: int) -> Any:
    """Machine code of a source for a device, from disk where it is there whole."""
    capability = str(cp.cuda.Device(device).compute_capability)
    target = f"sm_{capability}{'a' * (source.file in sources.OWN_TARGETS)}"
    options = (*source.options, f"-arch={target}")
    asked = hashlib.sha256(repr((source.code, options, nvrtc.getVersion())).encode()).hexdigest()
    path = home() / "kernels" / f"{asked}.cubin"
    binary = _read(path)
    if binary is None:
        binary = _compiled(source.code, options)
        with contextlib.suppress(OSError, KnnscopeError):  # it is compiled again next time
            make_folder(path.parent)
            with whole_file(path) as file:
                file.write(hashlib.sha256(binary).digest() + binary)
    module = cp.cuda.function.Module()
    module.load(binary)
    return module


def _read(path: Path) -> bytes | None:
    """What was compiled before; None where it is not there, or not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, binary = content[:32], content[32:]
    return binary if hashlib.sha256(binary).digest() == digest else None


def _compiled(code: str, options: tuple[str, ...]) -> bytes:
    """Machine code by NVRTC.

    Raises:
        KnnscopeError: it does not compile.
    """
    program = nvrtc.createProgram(code, "certified.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        binary: bytes = nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        first = (nvrtc.getProgramLog(program).strip().splitlines() or [str(error)])[0]
        raise KnnscopeError(
            f"a kernel of certified search does not compile here ({options[-1]}), another release of CUDA may: {first}"
        ) from error
    finally:
        nvrtc.destroyProgram(program)
    return binary
