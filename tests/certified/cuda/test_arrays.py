"""Arrays of other libraries, by libraries in words: who hands memory over says when it is written, and bfloat16 is widened without a copy on the way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.search.device import is_device
from tests.certified.cuda.gpu_in_words import Array, forgotten, installed


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


class OfBoth:
    """An array that can be taken both ways, as JAX' are."""

    __cuda_array_interface__ = property(lambda _self: {"version": 2})
    dtype = "float32"

    def __dlpack__(self, **_: Any) -> None: ...
    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class Tensor(OfBoth):
    """PyTorch's."""


class KeepsGradients(Tensor):
    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad. Use var.detach()")


class OfOne:
    """One that knows nothing of DLPack."""

    __cuda_array_interface__ = property(lambda _self: {"version": 3, "stream": 1})
    dtype = "float32"


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How arrays were taken."""
    gpu, found = installed(monkeypatch, 1 << 20), list[str]()

    def take(way: str) -> Any:
        def taken(given: Any) -> Any:
            given.__cuda_array_interface__  # noqa: B018
            found.append(way)
            return Array((4, 3), np.float32)

        return taken

    torch: Any = ModuleType("torch")
    torch.Tensor = Tensor
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(gpu.cupy, "asarray", take("interface"), raising=False)
    monkeypatch.setattr(gpu.cupy, "from_dlpack", take("dlpack"), raising=False)
    return found


def test_memory_is_taken_so_that_its_writer_is_waited_for(ways: list[str]) -> None:
    """PyTorch's streams are followed; other libraries say by DLPack when memory is written, and an interface without a stream does not."""
    from knnscope.certified.cuda import arrays

    for given, way in ((OfBoth(), "dlpack"), (Tensor(), "interface"), (OfOne(), "interface")):
        arrays.matrix(given, "rows")
        assert ways.pop() == way
        assert is_device(given)


def test_a_tensor_with_gradients_is_refused_in_one_line(ways: list[str]) -> None:
    from knnscope.certified.cuda import arrays

    assert is_device(KeepsGradients())
    with pytest.raises(KnnscopeError, match=r"^queries cannot be read from the GPU: .*requires grad.*detach\(\)$"):
        arrays.matrix(KeepsGradients(), "queries")


def test_bfloat16_is_seen_as_bits_of_its_own_library(ways: list[str]) -> None:
    """The module that has JAX' class of arrays has no types."""
    from knnscope.certified.cuda import arrays

    seen = list[Any]()

    class Brain(OfBoth):
        dtype = "bfloat16"

        def __array_namespace__(self) -> Any:
            return SimpleNamespace(int16="its int16")

        def view(self, dtype: Any) -> Any:
            seen.append(dtype)
            return OfBoth()

    arrays.matrix(Brain(), "rows")
    assert seen == ["its int16"]


def test_bfloat16_queries_are_those_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import arrays

    numbers = np.array([[1, -2.5, 0, 3e38], [1e-38, -0.0, 7, 0.15625]], np.float32)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.int16)
    monkeypatch.setattr(arrays, "matrix", lambda given, _what: given)
    for given in (bits.view(Array), bits[0].view(Array)):
        found, single = arrays.queries(given, 4)
        assert single == (given.ndim == 1)
        assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
        expected = (np.atleast_2d(given).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(np.asarray(found), expected)
