"""Kinds of values that compiled code computes with: numbers, arrays, and tuples of them. Told without LLVM, which takes 40 MB.

Whole numbers are 64 bits wide and signed wherever they are computed with; arrays hold narrower ones. A bool is a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


class CompileError(TypeError):
    """The function is none that is compiled here; says where and why."""


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar."""

    name: str

    def __str__(self) -> str:
        return self.name


I64, F64, F32, BOOL = Number("i64"), Number("f64"), Number("f32"), Number("bool")
WIDER = (BOOL, I64, F64)
"""Each holds those before it. A float32 stays one among its like only: with any other number, written ones too, it becomes float64."""
ITEMS = {
    "bool": BOOL, "int8": I64, "uint8": I64, "int16": I64, "uint16": I64, "int32": I64, "uint32": I64, "int64": I64,
    "float32": F32, "float64": F64,
}  # fmt: skip
"""Types of arrays, and what their items are computed as."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array: address, shape, and in any order (``layout`` A, not C) strides in bytes."""

    dtype: str
    ndim: int
    layout: str

    def __str__(self) -> str:
        return f"{self.dtype}[{self.ndim}{self.layout}]"

    @property
    def itemsize(self) -> int:
        """Bytes of an item."""
        return np.dtype(self.dtype).itemsize

    @property
    def item(self) -> Number:
        """What items are computed as."""
        return ITEMS[self.dtype]


@dataclass(frozen=True, slots=True)
class Record:
    """A tuple; ``cls`` is the class of one with names."""

    cls: type | None
    items: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.cls.__qualname__ if self.cls else ''}({', '.join(map(str, self.items))})"


Kind = Number | Array | Record


def has_array(kind: Kind) -> bool:
    """Whether there is an array in it."""
    return isinstance(kind, Array) or (isinstance(kind, Record) and any(map(has_array, kind.items)))


def joined(one: Kind, other: Kind) -> Kind:
    """What holds either.

    Raises:
        CompileError: nothing does.
    """
    if one == other:
        return one
    if isinstance(one, Number) and isinstance(other, Number):
        return F64 if F32 in (one, other) else max(one, other, key=WIDER.index)
    if isinstance(one, Array) and isinstance(other, Array) and (one.dtype, one.ndim) == (other.dtype, other.ndim):
        return Array(one.dtype, one.ndim, "A")
    if (
        isinstance(one, Record)
        and isinstance(other, Record)
        and one.cls is other.cls
        and len(one.items) == len(other.items)
    ):
        return Record(one.cls, tuple(map(joined, one.items, other.items)))
    raise CompileError(f"a variable is {one} and {other}")


def kind_of(value: Any) -> Kind:
    """The kind of what Python hands over.

    Raises:
        CompileError: it has none.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.name not in ITEMS or not value.dtype.isnative:
            raise CompileError(f"arrays of {value.dtype} are not computed with")
        return Array(value.dtype.name, value.ndim, "C" if value.flags.c_contiguous else "A")
    if isinstance(value, tuple):
        return Record(type(value) if hasattr(value, "_fields") else None, tuple(map(kind_of, value)))
    if isinstance(value, bool | np.bool_):
        return BOOL
    if isinstance(value, int | np.integer):
        return I64
    if isinstance(value, np.float32):
        return F32
    if isinstance(value, float | np.floating):
        return F64
    raise CompileError(f"{type(value).__name__} is not computed with")
