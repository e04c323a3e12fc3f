"""Telling where an array lies, and saying in one line why no GPU can be used; tests/gpu has the rest."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from knnscope.errors import KnnscopeError, MissingLibraryError, NoGpuError
from knnscope.search import catalog, device, engine


class CudaArray:
    __cuda_array_interface__ = {"shape": (1,), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


class Dlpack:
    def __init__(self, kind: int) -> None:
        self._kind = kind

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, 0


def test_where_an_array_lies() -> None:
    assert not device.is_device(np.ones(3)), "NumPy speaks DLPack too"
    assert not device.is_device(Dlpack(1))
    assert not device.is_device([1.0])
    assert device.is_device(CudaArray())
    assert device.is_device(Dlpack(2))


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "int8", "uint8", "int32"])
def test_types_have_one_name(name: str) -> None:
    assert device.dtype_name(np.ones(1, name)) == name
    assert device.dtype_name(SimpleNamespace(dtype=f"torch.{name}")) == name


def test_queries_of_a_type_that_numpy_has_not_are_refused_in_one_line() -> None:
    class Bfloat16(CudaArray):
        dtype = "torch.bfloat16"
        shape = (1, 3)

    index = engine.build(catalog.load("numpy"), np.ones((4, 3), np.float32), "l2")
    with pytest.raises(KnnscopeError, match="queries are of type bfloat16"):
        index.search(Bfloat16(), 1)  # type: ignore[arg-type]


class Driver:
    """libcuda as far as it is asked."""

    def __init__(self, code: int, count: int) -> None:
        self._count = count
        self._code = code

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self._code

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802
        count._obj.value = self._count  # type: ignore[attr-defined]
        return 0


def test_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(driver: object) -> None:
        monkeypatch.setattr(ctypes, "CDLL", {"libcuda.so.1": driver}.__getitem__)

    load(Driver(0, 1))
    assert device.gpu_problem() is None
    load(Driver(0, 0))
    assert device.gpu_problem() == "the NVIDIA driver sees no GPU: CUDA_VISIBLE_DEVICES may hide it"
    load(Driver(999, 1))
    assert device.gpu_problem() == "the NVIDIA driver refuses (error 999): see nvidia-smi"
    load(object())
    assert device.gpu_problem() == "no NVIDIA driver here (libcuda.so.1)"

    def fail(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert device.gpu_problem() == "no NVIDIA driver here (libcuda.so.1)"


def test_processes_take_gpus_in_turn_unless_they_are_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(0, 2))
    assert [device.gpu_in_turn(turn) for turn in range(5)] == [0, 1, 0, 1, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert device.gpu_in_turn(1) == 0
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver(100, 0))
    assert device.gpu_in_turn(3) == 0  # what is asked of it says what is wrong

    def fail(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert device.gpu_in_turn(3) == 0


def test_without_a_gpu_the_library_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the library is missing or finds no GPU."""
    if device.gpu_problem() is None:
        pytest.skip("there is a GPU here")
    with pytest.raises((NoGpuError, MissingLibraryError)) as caught:
        device.library()
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(MissingLibraryError, match=r"^cupy is not installed: "):
        device._cupy()


@pytest.mark.parametrize("first", ["cupy", "torch"])
def test_a_library_that_is_installed_is_not_used_without_a_gpu(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpu_problem", lambda: "the NVIDIA driver sees no GPU")
    monkeypatch.setattr(device, "require", lambda *_: SimpleNamespace())
    found = {first: object()}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    with pytest.raises(NoGpuError, match=r"^the NVIDIA driver sees no GPU$"):
        device.library()
    monkeypatch.setattr(device, "gpu_problem", lambda: None)
    assert device.library().name == first
    found.update(cupy=object(), torch=object())
    assert device.library().name == "cupy", "of both, CuPy"
