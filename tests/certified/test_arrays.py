"""Vectors of other libraries: what is read in place, and what is refused in one line."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from knnscope.certified.arrays import BFLOAT_CODE, _Tensor, as_queries, as_rows
from knnscope.certified.index import ExactIndex
from knnscope.certified.values import BFLOAT, widened
from knnscope.errors import KnnscopeError
from tests import reference


class Tensor:
    """A CPU tensor that speaks DLPack and nothing else; ``code`` other than NumPy's makes it of another type."""

    def __init__(self, values: np.ndarray, code: int | None = None, device: int = 1) -> None:
        self.values, self.code, self.device = values, code, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self.values.__dlpack__()
        if self.code is not None:
            pointer = ctypes.pythonapi.PyCapsule_GetPointer
            pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
            _Tensor.from_address(pointer(capsule, b"dltensor")).dtype.code = self.code
        return capsule

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


def as_bfloat(values: np.ndarray) -> np.ndarray:
    """Bits of the upper half of float32."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("strided", [False, True])
def test_bfloat16_is_read_in_place(strided: bool) -> None:
    values = np.random.default_rng(0).standard_normal((200, 6))
    bits = as_bfloat(values)
    bits = bits[::2, 1:] if strided else bits
    found = as_rows(Tensor(bits, BFLOAT_CODE))
    assert found.dtype == BFLOAT
    assert found.ctypes.data == bits.ctypes.data
    np.testing.assert_array_equal(found.view(np.uint16), bits)
    exact = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(widened(found), exact)
    for metric in ("l2", "cosine"):
        answer = ExactIndex(Tensor(bits, BFLOAT_CODE), metric).search(Tensor(bits[:4], BFLOAT_CODE), 3)
        for number in range(4):
            expected = reference.nearest(exact, exact[number], 3, metric)
            assert (answer.ids[number].tolist(), answer.distances[number].tolist()) == expected


def test_bfloat16_that_is_not_finite_is_named() -> None:
    bits = as_bfloat(np.ones((3, 2)))
    bits[2, 1] = 0x7F80
    with pytest.raises(KnnscopeError, match="rows: row 2 has inf in component 1"):
        ExactIndex(Tensor(bits, BFLOAT_CODE))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8"])
def test_other_types_through_dlpack_and_array(dtype: str) -> None:
    values = (np.arange(12).reshape(4, 3) * 3 % 7).astype(dtype)
    np.testing.assert_array_equal(as_rows(Tensor(values)), values)
    np.testing.assert_array_equal(as_queries(Tensor(values), 3), values.astype(np.float64))


def test_lists_of_numbers() -> None:
    np.testing.assert_array_equal(as_rows([[1.5, 2], [3, 4]]), [[1.5, 2], [3, 4]])
    with pytest.raises(KnnscopeError, match=r"vectors of type int64: float16, .* were expected"):
        as_rows([[1, 2]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half(dtype: str) -> None:
    """All 65,536 bit patterns, as compiled code reads them."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    exact = (
        bits.view(np.float16).astype(np.float64)
        if dtype == "float16"
        else (bits.astype(np.uint32) << 16).view(np.float32)
    )
    finite = np.isfinite(exact)
    column = bits[finite][:, None]
    rows = column.view(np.float16) if dtype == "float16" else Tensor(np.ascontiguousarray(column), BFLOAT_CODE)
    exact = exact[finite].astype(np.float64)
    found = ExactIndex(rows, "ip").search(np.array([[1.0]]), 5)
    order = np.lexsort((np.arange(len(exact)), -exact))[:5]
    assert found.ids[0].tolist() == order.tolist()
    index = ExactIndex(rows)
    some = np.random.default_rng(0).choice(len(exact), 300, replace=False)
    near = index.search(exact[some, None], 1)
    assert (near.distances == 0).all(), "each is there, read as what it is"
    np.testing.assert_array_equal(exact[near.ids[:, 0]], exact[some])


def test_what_lies_elsewhere_is_refused() -> None:
    with pytest.raises(KnnscopeError, match="vectors lie on another device: copy them to the host first"):
        as_rows(Tensor(np.eye(2), device=2))
    with pytest.raises(KnnscopeError, match="vectors of type bool"):
        as_rows(np.eye(2) > 0)


def test_a_tensor_that_will_not_be_exported_is_refused_in_one_line() -> None:
    class Grad(Tensor):
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("Can't export tensors that require gradient")

    with pytest.raises(KnnscopeError, match="cannot be read through DLPack: Can't export"):
        as_rows(Grad(np.eye(2)))
