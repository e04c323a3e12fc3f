"""Arrays: items, views, and new ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir, numbers
from knnscope.certified.cpu.compiler.kinds import I64, Array, CompileError
from knnscope.certified.cpu.compiler.registers import POINTER, REGISTERS, STORED, Value

WORD = REGISTERS[I64]
BYTE = ir.IntType(8)
Bounds = tuple[Any, Any]
"""Of a slice: registers of its first item and the one after its last, None for the array's own."""


def number(value: int) -> Any:
    """A constant."""
    return ir.Constant(WORD, value)


def product(builder: Any, factors: list[Any]) -> Any:
    """Of registers; 1 where there are none."""
    total = number(1)
    for place, factor in enumerate(factors):
        total = factor if not place else builder.mul(total, factor, flags="nsw ")
    return total


def kind_of(array: Value) -> Array:
    """Its kind.

    Raises:
        CompileError: it is no array.
    """
    if not isinstance(array.kind, Array):
        raise CompileError(f"an array was expected, not {array.kind}")
    return array.kind


def strides(builder: Any, array: Value) -> list[Any]:
    """Bytes from one item to the next in each direction."""
    kind = kind_of(array)
    if kind.layout == "A":
        return array.parts[1 + kind.ndim :]
    found = [number(kind.itemsize)]
    for size in reversed(array.shape[1:]):
        found.insert(0, builder.mul(found[0], size, flags="nsw "))
    return found


def _moved(builder: Any, pointer: Any, offset: Any) -> Any:
    return builder.gep(pointer, offset, BYTE)


def place(builder: Any, array: Value, index: list[Any]) -> Any:
    """Pointer to one item."""
    kind = kind_of(array)
    if kind.layout == "C":
        linear = index[0]
        for size, more in zip(array.shape[1:], index[1:], strict=True):
            linear = builder.add(builder.mul(linear, size, flags="nsw "), more, flags="nsw ")
        return builder.gep(array.parts[0], linear, STORED[kind.dtype])
    at = array.parts[0]
    for each, stride in zip(index, strides(builder, array), strict=True):
        at = _moved(builder, at, builder.mul(each, stride, flags="nsw "))
    return at


def get(builder: Any, array: Value, index: list[Any]) -> Value:
    """One item; no alignment is assumed."""
    dtype = kind_of(array).dtype
    at = place(builder, array, index)
    return numbers.loaded(builder, builder.load(at, STORED[dtype], align=1), dtype)


def put(builder: Any, array: Value, index: list[Any], value: Value) -> None:
    """Write one item."""
    register = numbers.stored(builder, value, kind_of(array).dtype)
    builder.store(register, place(builder, array, index), align=1)


def view(builder: Any, array: Value, index: list[Any]) -> Value:
    """Some of an array: registers and ``Bounds``, those that are left out whole."""
    kind, steps = kind_of(array), strides(builder, array)
    at: Any = array.parts[0]
    shape: list[Any] = []
    left: list[Any] = []
    index = index + [(None, None)] * (kind.ndim - len(index))
    whole = True  # all behind the first slice
    for dimension, one in enumerate(index):
        if not isinstance(one, tuple):
            at = _moved(builder, at, builder.mul(one, steps[dimension], flags="nsw "))
            whole = whole and not shape
            continue
        size, (first, last) = array.shape[dimension], one
        whole = whole and (not shape or (first is None and last is None))
        last = size if last is None else _smaller(builder, last, size)
        if first is not None:
            first = _smaller(builder, first, size)
            at = _moved(builder, at, builder.mul(first, steps[dimension], flags="nsw "))
            last = builder.sub(last, first)
            last = builder.select(builder.icmp_signed("<", last, number(0)), number(0), last)
        shape.append(last)
        left.append(steps[dimension])
    if kind.layout == "C" and whole:
        return Value(Array(kind.dtype, len(shape), "C"), [at, *shape])
    return Value(Array(kind.dtype, len(shape), "A"), [at, *shape, *left])


def _smaller(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, other), one, other)


def reshaped(array: Value, shape: list[Any]) -> Value:
    """The same items in another shape, which has as many."""
    kind = kind_of(array)
    if kind.layout != "C":
        raise CompileError("reshape of an array that is not in one piece")
    return Value(Array(kind.dtype, len(shape), "C"), [array.parts[0], *shape])


def viewed(builder: Any, array: Value, dtype: str) -> Value:
    """The same memory as another type."""
    kind = kind_of(array)
    if kind.layout != "C":
        raise CompileError("view of an array that is not in one piece")
    last = builder.mul(array.shape[-1], number(kind.itemsize))
    last = builder.sdiv(last, number(np.dtype(dtype).itemsize))
    return Value(Array(dtype, kind.ndim, "C"), [array.parts[0], *array.shape[:-1], last])


def loose(builder: Any, array: Value) -> Value:
    """The same array as one of any layout."""
    kind = kind_of(array)
    return Value(Array(kind.dtype, kind.ndim, "A"), [*array.parts[: 1 + kind.ndim], *strides(builder, array)])


def address(builder: Any, array: Value) -> Value:
    """A whole number."""
    return Value(I64, [builder.ptrtoint(array.parts[0], WORD)])


def of_python(builder: Any, kind: Array, pointer: Any, head: int) -> Value:
    """An array of NumPy's, by the address of its object: after the head data, number of dimensions, shape and strides lie in 8 bytes each."""

    def field(place: int) -> Any:
        return builder.load(_moved(builder, pointer, number(head + 8 * place)), POINTER)

    def words(base: Any) -> list[Any]:
        return [builder.load(_moved(builder, base, number(8 * place)), WORD) for place in range(kind.ndim)]

    shape = words(field(2))
    return Value(kind, [field(0), *shape, *(words(field(3)) if kind.layout == "A" else ())])
