"""Vectors of other libraries: what is read in place, and what is refused in one line."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from knnscope.certified.dtypes import BFLOAT, widened
from knnscope.certified.index import ExactIndex
from knnscope.certified.rows import BFLOAT_CODE, _Tensor, as_queries, as_rows
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests import oracle


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
            expected = oracle.nearest(exact, exact[number], 3, metric)
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
    np.testing.assert_array_equal(as_queries(Tensor(values), 3)[0], values.astype(np.float64))


def test_lists_of_numbers() -> None:
    np.testing.assert_array_equal(as_rows([[1.5, 2], [3, 4]]), [[1.5, 2], [3, 4]])
    assert as_rows([[1, 2]]).dtype == np.int32


LARGE = 2**53
HELD: dict[str, list[list[int]]] = {
    "bool": [[0, 1], [1, 1]],
    "int16": [[-(2**15), 2**15 - 1], [0, 3]],
    "uint16": [[0, 2**16 - 1], [5, 3]],
    "uint32": [[0, 2**32 - 1], [5, 2**31]],
    "int64": [[-LARGE, LARGE], [-(2**63), 2**62]],
    "uint64": [[2**64 - 2**11, 2**63], [0, 1]],
    "longdouble": [[3, -7], [2**62, 1]],
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", HELD)
def test_any_type_whose_numbers_float64_holds_is_read(dtype: str, order: str) -> None:
    values = np.array(HELD[dtype], dtype=np.dtype(dtype).newbyteorder(order))
    for given in (values, values[::-1, ::-1], np.asfortranarray(values)):
        found = as_rows(given)
        assert found.dtype.name in definition.DTYPES
        assert [[int(v) for v in row] for row in found.tolist()] == [[int(v) for v in row] for row in given.tolist()]
        queries, single = as_queries(given, 2)
        np.testing.assert_array_equal(queries, found.astype(np.float64))
        assert not single


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        ("int64", LARGE + 1),
        ("int64", 2**63 - 1),
        ("uint64", 2**64 - 1),
        ("uint64", LARGE + 1),
        ("longdouble", LARGE + 1),
    ],
)
def test_a_number_that_float64_does_not_hold_is_refused(dtype: str, number: int) -> None:
    values = np.zeros((3, 2), dtype=dtype)
    values[2, 1] = number
    with pytest.raises(KnnscopeError, match=f"rows of type {values.dtype}: float64 does not hold .*{str(number)[:5]}"):
        as_rows(values)


@pytest.mark.parametrize("dtype", definition.DTYPES)
def test_the_other_byte_order(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (50, 6)).astype(dtype)
    other = values.astype(values.dtype.newbyteorder(">"))
    found, expected = ExactIndex(other).search(other[:3], 4), definition.search(values, values[:3], 4, "l2")
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize(
    "given",
    [
        np.ma.masked_equal(np.eye(3), 1.0),
        np.ma.array(np.eye(3)),
        [[1, 2], [3]],
        [[1.0, None]],
        [["a", "b"]],
        [[1 + 2j]],
        [[{}]],
        "text",
        None,
        object(),
        3.0,
        np.array([["2020-01-01"]], dtype="datetime64[D]"),
        np.zeros(3, dtype=[("a", "f4")]),
    ],
    ids=lambda given: repr(given).partition(" at 0x")[0],
)
def test_what_is_no_matrix_of_numbers_is_refused_in_one_line(given: object) -> None:
    index = ExactIndex(np.eye(3))
    for call in (lambda: ExactIndex(given), lambda: index.search(given, 1)):
        with pytest.raises(KnnscopeError) as refused:
            call()
        assert "\n" not in str(refused.value)
    for call in (lambda: ExactIndex(np.eye(3), ids=given), lambda: index.search(np.eye(3), 1, where=given)):  # type: ignore[arg-type]
        if given is not None:  # the default
            with pytest.raises(KnnscopeError) as refused:
                call()
            assert "\n" not in str(refused.value)


def test_no_query_and_a_single_one() -> None:
    for empty in ([], np.empty((0, 4)), np.empty((0, 4), np.int64)):
        values, single = as_queries(empty, 4)
        assert (values.shape, values.dtype, single) == ((0, 4), np.float64, False)
    values, single = as_queries([1, 2, 3, 4], 4)
    assert (values.tolist(), single) == ([[1, 2, 3, 4]], True)
    for wrong in (np.empty((0, 3)), [1, 2, 3], np.empty((2, 0)), np.zeros((1, 1, 4)), np.float64(1)):
        with pytest.raises(KnnscopeError, match="queries have"):
            as_queries(wrong, 4)


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


def test_a_tensor_that_will_not_be_exported_is_refused_in_one_line() -> None:
    class Grad(Tensor):
        def __dlpack__(self, **_: Any) -> Any:
            raise BufferError("Can't export tensors that require gradient")

    with pytest.raises(KnnscopeError, match="cannot be read through DLPack: Can't export"):
        as_rows(Grad(np.eye(2)))


def test_arrays_with_masks_are_known_without_loading_their_module() -> None:
    """It takes 20 ms, and a process that is forked while another thread loads it hangs."""
    code = (
        "import sys, numpy as np, knnscope\n"
        "index = knnscope.ExactIndex(np.eye(3), ids=[4, 5, 6], device='cpu')\n"
        "index.search([[1, 0, 0]], 1, where=knnscope.Keep([4]))\n"
        "index.radius_search([[1, 0, 0]], [1.0])\n"
        "sys.exit('numpy.ma' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
