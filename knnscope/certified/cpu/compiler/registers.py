"""Values as registers: of a number one, of an array its address, shape and strides, of a tuple those of its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.compiler.kinds import BOOL, F32, F64, I64, Array, Kind, Number, Record

POINTER = ir.POINTER
REGISTERS = {I64: ir.IntType(64), F64: ir.DOUBLE, F32: ir.FLOAT, BOOL: ir.IntType(1)}
BY_REGISTER = {str(type_): kind for kind, type_ in REGISTERS.items()}
STORED: dict[str, Any] = {
    "bool": ir.IntType(8), "int8": ir.IntType(8), "uint8": ir.IntType(8), "int16": ir.IntType(16), "uint16": ir.IntType(16),
    "int32": ir.IntType(32), "uint32": ir.IntType(32), "int64": ir.IntType(64), "float32": ir.FLOAT, "float64": ir.DOUBLE,
}  # fmt: skip
"""What items of each type of arrays are in memory."""


def registers(kind: Kind) -> list[Any]:
    """Types of the registers that hold a value."""
    if isinstance(kind, Number):
        return [REGISTERS[kind]]
    if isinstance(kind, Array):
        return [POINTER] + [REGISTERS[I64]] * (kind.ndim * (2 if kind.layout == "A" else 1))
    return [one for item in kind.items for one in registers(item)]


@dataclass(slots=True)
class Value:
    """A value of compiled code."""

    kind: Kind
    parts: list[Any]

    def items(self) -> list[Value]:
        """Of a tuple."""
        assert isinstance(self.kind, Record)
        found, at = [], 0
        for kind in self.kind.items:
            size = len(registers(kind))
            found.append(Value(kind, self.parts[at : at + size]))
            at += size
        return found

    def item(self, place: int) -> Value:
        """One of a tuple's."""
        return self.items()[place]

    @property
    def shape(self) -> list[Any]:
        """Of an array."""
        assert isinstance(self.kind, Array)
        return self.parts[1 : 1 + self.kind.ndim]


class Slot(ir.Register):
    """Memory of a function's own that holds a register, of type ``holds``."""

    __slots__ = ("holds",)

    def __init__(self, holds: Any, name: str) -> None:
        super().__init__(POINTER, name)
        self.holds = holds


@dataclass(slots=True)
class Constant:
    """A value that is known when code is written: any object of Python's."""

    of: Any
