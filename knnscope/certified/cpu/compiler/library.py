"""What compiled code may call of Python, ``math`` and NumPy."""

from __future__ import annotations

import ast
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import arrays, numbers
from knnscope.certified.cpu.compiler.kinds import BOOL, F32, F64, I64, CompileError, Number, Record
from knnscope.certified.cpu.compiler.registers import REGISTERS, Constant, Value
from knnscope.certified.cpu.compiler.terms import Term, Terms

PURE = {np.iinfo, np.finfo, np.dtype, math.sqrt, min, max, abs, int, float, bool}
"""Called when code is written, where all that they are given is known then; so are NumPy's scalars."""
FLOATING: dict[Any, str] = {math.sqrt: "sqrt", np.sqrt: "sqrt", np.rint: "rint", np.floor: "floor"}
CASTS: dict[Any, tuple[Number, int]] = {
    float: (F64, 0), np.float64: (F64, 0), np.float32: (F32, 0), bool: (BOOL, 0), np.bool_: (BOOL, 0), int: (I64, 64),
    np.int64: (I64, 64), np.int32: (I64, 32), np.uint32: (I64, -32), np.int16: (I64, 16), np.uint16: (I64, -16),
    np.int8: (I64, 8), np.uint8: (I64, -8),
}  # fmt: skip
"""Kind, and bits of a whole number: fewer than 0 without a sign."""
NEW: set[Any] = {np.empty, np.zeros, np.ones, np.full}


class Library(Terms):
    """Terms with calls of what is not compiled here."""

    @abstractmethod
    def new(self, dtype: str, shape: list[Any]) -> Value:
        """An array of this function."""

    @abstractmethod
    def fill(self, array: Value, value: Value) -> None:
        """Every item of an array."""

    def known(self, function: Any, node: ast.Call) -> Term | None:
        """A call of a class of tuples, or of one of these functions; None for others."""
        if isinstance(function, type) and issubclass(function, tuple) and hasattr(function, "_fields"):
            given = {name: self.term(one) for name, one in zip(function._fields, node.args, strict=False)}
            given |= {str(one.arg): self.term(one.value) for one in node.keywords}
            return self.record(function, [given[name] for name in function._fields])
        if function in NEW:
            return self._new(function, node)
        terms = [self.term(one) for one in node.args]
        pure = function in PURE or (isinstance(function, type) and issubclass(function, np.generic))
        if pure and all(isinstance(term, Constant) for term in terms):
            return Constant(function(*(term.of for term in terms if isinstance(term, Constant))))
        values = [
            self.held(term) for term in terms if pure or function in FLOATING or function in (np.isnan, np.arange)
        ]
        return self._of_numbers(function, values) if values else None

    def _of_numbers(self, function: Any, values: list[Value]) -> Term | None:
        builder = self.builder
        if function in CASTS:
            return self._cast(values[0], *CASTS[function])
        if function in FLOATING:
            return numbers.of_float(builder, FLOATING[function], values[0])
        if function in (min, max):
            return numbers.chosen(builder, "<" if function is min else ">", values)
        if function is abs:
            if values[0].kind in numbers.FLOATS:
                return numbers.of_float(builder, "fabs", values[0])
            register = numbers.cast(builder, values[0], I64)
            below = builder.icmp_signed("<", register, arrays.number(0))
            return Value(I64, [builder.select(below, builder.neg(register), register)])
        if function is np.isnan:
            register = numbers.cast(builder, values[0], F64)
            return Value(BOOL, [builder.fcmp_unordered("uno", register, register)])
        if function is np.arange:
            return self._arange(values[0])
        return None

    def _cast(self, value: Value, kind: Number, bits: int) -> Value:
        if not isinstance(value.kind, Number):
            raise CompileError(f"{value.kind} is no number")
        narrow, builder = abs(bits), self.builder
        if kind != I64 or narrow == 64:
            return Value(kind, [numbers.cast(builder, value, kind)])
        dtype = f"{'u' if bits < 0 else ''}int{narrow}"
        return numbers.loaded(builder, numbers.stored(builder, value, dtype), dtype)

    def _new(self, function: Callable[..., Any], node: ast.Call) -> Value:
        named = {str(one.arg): one.value for one in node.keywords}
        given = list(node.args)
        shape = self.held(self.term(given.pop(0)))
        value = self.held(self.term(given.pop(0))) if function is np.full else None
        kind = named.get("dtype") or (given.pop(0) if given else None)
        if kind is None and value is not None and value.kind != F64:
            raise CompileError("an array that is filled with anything but float64 needs a dtype")
        dtype = "float64" if kind is None else np.dtype(self.known_as(kind)).name
        words = shape.items() if isinstance(shape.kind, Record) else [shape]
        made = self.new(dtype, [numbers.cast(self.builder, word, I64) for word in words])
        if function is np.zeros or function is np.ones:
            value = numbers.constant(int(function is np.ones))
        if value is not None:
            self.fill(made, value)
        return made

    def known_as(self, node: ast.expr) -> Any:
        """An object that is known when code is written."""
        term = self.term(node)
        if not isinstance(term, Constant):
            raise CompileError("it has to be known when code is written")
        return term.of

    def _arange(self, count: Value) -> Value:
        made = self.new("int64", [numbers.cast(self.builder, count, I64)])
        self.turns(made.shape[0], lambda place: arrays.put(self.builder, made, [place], Value(I64, [place])))
        return made

    def turns(self, count: Any, body: Callable[[Any], None]) -> None:
        """Instructions that run so many times, with the number of the turn."""
        builder, before = self.builder, self.builder.block
        head, turn, after = (builder.append_basic_block(name) for name in ("head", "turn", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        place = builder.phi(REGISTERS[I64])
        place.add_incoming(arrays.number(0), before)
        builder.cbranch(builder.icmp_signed("<", place, count), turn, after)
        builder.position_at_end(turn)
        body(place)
        place.add_incoming(builder.add(place, arrays.number(1), flags="nsw "), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def method(self, array: Value, name: str, node: ast.Call) -> Value:
        """A call of an array's own."""
        if name == "view":
            return arrays.viewed(self.builder, array, np.dtype(self.known_as(node.args[0])).name)
        if name == "reshape":
            sizes = node.args[0].elts if isinstance(node.args[0], ast.Tuple) else node.args
            return arrays.reshaped(array, [self.whole(one) for one in sizes])
        raise CompileError(f"an array's {name} is not compiled")
