"""Arrays in GPU memory, whoever owns them: CuPy where it is installed, else torch. Nothing here is imported before it is needed.

Arrays come in through ``__cuda_array_interface__`` or DLPack and go out as what the engine's own library makes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import NoGpuError, require

CUDA = 2
"""kDLCUDA of DLPack."""
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""


def is_device(array: Any) -> bool:
    """Whether an array lies in GPU memory."""
    if isinstance(array, np.ndarray):
        return False
    if type(array).__module__.partition(".")[0] == "cupy":  # asking one of its arrays takes 2 us
        return True
    try:
        if hasattr(array, "__cuda_array_interface__"):
            return True
    except (
        RuntimeError
    ):  # PyTorch's, of one on a GPU that it keeps gradients of: whoever reads it tells why it cannot be
        return True
    where = getattr(array, "__dlpack_device__", None)
    return where is not None and int(where()[0]) == CUDA


def device_of(array: Any) -> int:
    """The number of the GPU on which an array lies."""
    where = getattr(array, "__dlpack_device__", None)
    return int(where()[1]) if where is not None else int(array.device.id if hasattr(array, "device") else 0)


def dtype_name(array: Any) -> str:
    """Name of an array's type, whichever library made it ("float32", not "torch.float32")."""
    return str(array.dtype).rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Library:
    """What timing and tests need of a library that owns GPU memory."""

    name: str
    to_device: Callable[[npt.NDArray[Any]], Any]
    to_host: Callable[[Any], npt.NDArray[Any]]
    synchronize: Callable[[], None]
    event: Callable[[], Any]
    """A new event; its ``record()`` marks the current stream."""
    elapsed_ms: Callable[[Any, Any], float]
    free_bytes: Callable[[], int]
    flush: Callable[[], None]
    """Overwrite twice the second-level cache."""
    capture: Callable[[bool], None]
    """cudaProfilerStart or cudaProfilerStop: profilers that were told to wait for them record in between, others take no notice."""


def library() -> Library:
    """CuPy, else torch.

    Raises:
        MissingLibraryError: neither is installed.
        NoGpuError: none answers.
    """
    if importlib.util.find_spec("cupy") is None and importlib.util.find_spec("torch") is not None:
        return _torch()
    return _cupy()


def gpu_problem() -> str | None:
    """Why no GPU can be used, asked of the driver itself; None if one can."""
    try:
        code, count = _gpus()
    except (OSError, AttributeError):
        return "no NVIDIA driver here (libcuda.so.1)"
    if code == NO_DEVICE or (code == 0 and count == 0):
        return "the NVIDIA driver sees no GPU: CUDA_VISIBLE_DEVICES may hide it"
    return f"the NVIDIA driver refuses (error {code}): see nvidia-smi" if code else None


def _gpus() -> tuple[int, int]:
    """The driver's error, 0 for none, and how many GPUs this process sees.

    Raises:
        OSError, AttributeError: there is no driver.
    """
    import ctypes

    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    return int(driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))), count.value


def gpu_in_turn(turn: int) -> int:
    """The GPU of one of several processes on a machine: the next one for each, unless CUDA_VISIBLE_DEVICES says which ones it sees, whose first it is."""
    if os.environ.get("CUDA_VISIBLE_DEVICES"):
        return 0
    with suppress(OSError, AttributeError):
        return turn % max(1, _gpus()[1])
    return 0


def _check() -> None:
    if why := gpu_problem():
        raise NoGpuError(why)


def _cupy() -> Library:
    cp = require("cupy", "cuda13")
    _check()

    return Library(
        "cupy",
        lambda a: cp.asarray(a),
        lambda a: np.asarray(
            cp.asnumpy(cp.asarray(a) if hasattr(a, "__cuda_array_interface__") else cp.from_dlpack(a))
        ),
        lambda: cp.cuda.runtime.deviceSynchronize(),
        lambda: cp.cuda.Event(),
        lambda a, b: float(cp.cuda.get_elapsed_time(a, b)),
        lambda: int(cp.cuda.runtime.memGetInfo()[0]),
        lambda: cp.full(int(cp.cuda.Device().attributes["L2CacheSize"]) // 2, 1.0, dtype=cp.float32),
        lambda on: (cp.cuda.profiler.start if on else cp.cuda.profiler.stop)(),
    )


def _torch() -> Library:
    torch = require("torch", "torch")
    _check()

    return Library(
        "torch",
        lambda a: torch.as_tensor(a, device="cuda"),
        lambda a: np.asarray(torch.as_tensor(a, device="cuda").cpu().numpy()),
        lambda: torch.cuda.synchronize(),
        lambda: torch.cuda.Event(enable_timing=True),
        lambda a, b: float(a.elapsed_time(b)),
        lambda: int(torch.cuda.mem_get_info()[0]),
        lambda: torch.full((torch.cuda.get_device_properties(0).L2_cache_size // 2,), 1.0, device="cuda"),
        lambda on: (torch.cuda.profiler.start if on else torch.cuda.profiler.stop)(),
    )
