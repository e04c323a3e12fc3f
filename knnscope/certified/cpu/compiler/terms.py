"""Expressions: what is known when code is written is computed then, all else becomes instructions."""

from __future__ import annotations

import ast
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import arrays, numbers
from knnscope.certified.cpu.compiler.kinds import BOOL, I64, Array, CompileError, Number, Record, joined
from knnscope.certified.cpu.compiler.registers import REGISTERS, Constant, Value

Term = Value | Constant
KNOWN: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
    ast.Invert: operator.invert, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip


class Terms(ABC):
    """Writes expressions at a builder's place; body.py has statements, library.py calls."""

    builder: Any
    names: dict[str, Any]

    @abstractmethod
    def place(self, name: str) -> Value | None:
        """Where what a name of the function's own holds lies."""

    @abstractmethod
    def read(self, place: Value) -> Value:
        """What lies there."""

    @abstractmethod
    def called(self, node: ast.Call) -> Term:
        """What a call gives."""

    def term(self, node: ast.expr) -> Term:
        """What an expression is."""
        place = self._place_of(node)
        if place is not None:
            return self.read(place)
        write = getattr(self, f"_{type(node).__name__.lower()}", None)
        if write is None:
            raise CompileError(f"{type(node).__name__} is not compiled")
        found: Term = write(node)
        return found

    def _place_of(self, node: ast.expr) -> Value | None:
        """Where a variable lies, or a part of the tuple that one is: so that no other part is read."""
        if isinstance(node, ast.Name):
            return self.place(node.id)
        if not isinstance(node, ast.Attribute | ast.Subscript):
            return None
        whole = self._place_of(node.value)
        if whole is None:
            return None
        if isinstance(node, ast.Attribute):
            if isinstance(whole.kind, Record) and whole.kind.cls is not None and node.attr in whole.kind.cls._fields:  # type: ignore[attr-defined]
                return whole.item(whole.kind.cls._fields.index(node.attr))  # type: ignore[attr-defined]
            if isinstance(whole.kind, Array) and node.attr == "shape":
                return Value(Record(None, (I64,) * whole.kind.ndim), whole.shape)
        elif isinstance(whole.kind, Record) and isinstance(node.slice, ast.Constant):
            return whole.item(int(node.slice.value))  # type: ignore[arg-type]
        return None

    def value(self, node: ast.expr) -> Value:
        """An expression, in registers."""
        return self.held(self.term(node))

    def held(self, term: Term) -> Value:
        """A term in registers."""
        if isinstance(term, Value):
            return term
        if isinstance(term.of, tuple):
            return self.record(
                type(term.of) if hasattr(term.of, "_fields") else None, [Constant(one) for one in term.of]
            )
        found = numbers.constant(term.of)
        if found is None:
            raise CompileError(f"{term.of!r} is not computed with")
        return found

    def whole(self, node: ast.expr) -> Any:
        """The register of a whole number."""
        value = self.value(node)
        if value.kind not in (I64, BOOL):
            raise CompileError(f"a whole number was expected, not {value.kind}")
        return numbers.cast(self.builder, value, I64)

    def record(self, cls: type | None, items: list[Term]) -> Value:
        """A tuple."""
        values = [self.held(item) for item in items]
        return Value(
            Record(cls, tuple(value.kind for value in values)), [part for value in values for part in value.parts]
        )

    def truth(self, node: ast.expr) -> Any:
        """A bit, or a bool where it is known."""
        return self._bit(self.term(node))

    def _bit(self, term: Term) -> Any:
        if isinstance(term, Constant):
            return bool(term.of)
        if not isinstance(term.kind, Number):
            raise CompileError(f"{term.kind} is neither true nor false")
        return numbers.cast(self.builder, term, BOOL)

    def _constant(self, node: ast.Constant) -> Term:
        return Constant(node.value)

    def _name(self, node: ast.Name) -> Term:
        if node.id not in self.names:
            raise CompileError(f"{node.id} is read before it is assigned")
        return Constant(self.names[node.id])

    def _tuple(self, node: ast.Tuple) -> Term:
        items = [self.term(item) for item in node.elts]
        if all(isinstance(item, Constant) for item in items):
            return Constant(tuple(item.of for item in items if isinstance(item, Constant)))
        return self.record(None, items)

    def _attribute(self, node: ast.Attribute) -> Term:
        if node.attr == "data" and isinstance(node.value, ast.Attribute) and node.value.attr == "ctypes":
            return arrays.address(self.builder, self.value(node.value.value))
        term = self.term(node.value)
        if isinstance(term, Constant):
            return Constant(getattr(term.of, node.attr))
        if isinstance(term.kind, Record) and term.kind.cls is not None:
            return term.item(term.kind.cls._fields.index(node.attr))  # type: ignore[attr-defined]
        if isinstance(term.kind, Array):
            if node.attr in ("shape", "strides"):
                words = term.shape if node.attr == "shape" else arrays.strides(self.builder, term)
                return Value(Record(None, (I64,) * len(words)), words)
            if node.attr in ("itemsize", "dtype"):
                return Constant(getattr(np.dtype(term.kind.dtype), node.attr, np.dtype(term.kind.dtype)))
            if node.attr in ("layout", "ndim"):
                return Constant(getattr(term.kind, node.attr))
        raise CompileError(f"{term.kind} has no {node.attr}")

    def _subscript(self, node: ast.Subscript) -> Term:
        term = self.term(node.value)
        if isinstance(term, Constant) or isinstance(term.kind, Record):
            place = self.term(node.slice)
            if not isinstance(place, Constant):
                raise CompileError("a tuple's place has to be known")
            return Constant(term.of[place.of]) if isinstance(term, Constant) else term.item(place.of)
        index = self.index(node.slice)
        if len(index) == arrays.kind_of(term).ndim and not any(isinstance(one, tuple) for one in index):
            return arrays.get(self.builder, term, index)
        return arrays.view(self.builder, term, index)

    def index(self, node: ast.expr) -> list[Any]:
        """Registers and bounds of slices."""
        return [self._place(one) for one in (node.elts if isinstance(node, ast.Tuple) else [node])]

    def _place(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Slice):
            if node.step is not None:
                raise CompileError("slices go step by step")
            return tuple(None if end is None else self._place(end) for end in (node.lower, node.upper))
        term = self.term(node)
        if isinstance(term, Constant) and isinstance(term.of, int) and term.of < 0:
            raise CompileError("places count from the front")
        value = self.held(term)
        if value.kind not in (I64, BOOL):
            raise CompileError(f"{value.kind} is no place")
        return numbers.cast(self.builder, value, I64)

    def _binop(self, node: ast.BinOp) -> Term:
        one, other = self.term(node.left), self.term(node.right)
        known = [term.of for term in (one, other) if isinstance(term, Constant)]
        if len(known) == 2 and not any(isinstance(of, np.float32) for of in known):  # NumPy has these meet otherwise
            return Constant(KNOWN[type(node.op)](*known))
        return numbers.computed(self.builder, node.op, self.held(one), self.held(other))

    def _unaryop(self, node: ast.UnaryOp) -> Term:
        term, builder = self.term(node.operand), self.builder
        if isinstance(term, Constant):
            return Constant(KNOWN[type(node.op)](term.of))
        if isinstance(node.op, ast.Not):
            return Value(BOOL, [builder.not_(self._bit(term))])
        kind = I64 if term.kind == BOOL else term.kind
        register = numbers.cast(builder, term, kind)  # type: ignore[arg-type]
        if isinstance(node.op, ast.USub):
            return Value(kind, [builder.neg(register) if kind == I64 else builder.fneg(register)])
        if isinstance(node.op, ast.Invert) and kind == I64:
            return Value(kind, [builder.not_(register)])
        raise CompileError(f"{type(node.op).__name__} of {term.kind}")

    def _compare(self, node: ast.Compare) -> Term:
        if any(isinstance(one, ast.Subscript) for later in node.comparators[1:] for one in ast.walk(later)):
            raise CompileError("what is compared last must not read an array: it is computed in any case")
        terms = [self.term(node.left)]
        found: Any = True
        for number, (how, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            terms.append(self.term(right))
            one, other = terms[number : number + 2]
            if isinstance(one, Constant) and isinstance(other, Constant):
                if not KNOWN[type(how)](one.of, other.of):
                    return Constant(False)
                continue
            bit = numbers.compared(self.builder, numbers.COMPARISONS[type(how)], self.held(one), self.held(other))
            found = bit if found is True else self.builder.and_(found, bit)
        return Constant(True) if found is True else Value(BOOL, [found])

    def _boolop(self, node: ast.BoolOp) -> Term:
        """Stops where it is decided, since what follows may read beyond an array."""
        ends, builder, block = isinstance(node.op, ast.Or), self.builder, None
        coming: list[tuple[Any, Any]] = []
        bit: Any = not ends
        for number, one in enumerate(node.values):
            bit = self.truth(one)
            if isinstance(bit, bool):
                if bit == ends:
                    break
                continue
            if number == len(node.values) - 1:
                break
            block = block or builder.append_basic_block("decided")
            more = builder.append_basic_block("more")
            coming.append((bit, builder.block))
            builder.cbranch(bit, *((block, more) if ends else (more, block)))
            builder.position_at_end(more)
        if block is None:
            return Constant(bit) if isinstance(bit, bool) else Value(BOOL, [bit])
        last = numbers.constant(bit).parts[0] if isinstance(bit, bool) else bit  # type: ignore[union-attr]
        coming.append((last, builder.block))
        builder.branch(block)
        builder.position_at_end(block)
        phi = builder.phi(REGISTERS[BOOL])
        for one_bit, where in coming:
            phi.add_incoming(one_bit, where)
        return Value(BOOL, [phi])

    def _ifexp(self, node: ast.IfExp) -> Term:
        test, builder = self.truth(node.test), self.builder
        if isinstance(test, bool):
            return self.term(node.body if test else node.orelse)
        blocks = [builder.append_basic_block(name) for name in ("then", "otherwise", "chosen")]
        builder.cbranch(test, *blocks[:2])
        values, ends = [], []
        for block, one in zip(blocks, (node.body, node.orelse), strict=False):
            builder.position_at_end(block)
            values.append(self.value(one))
            ends.append(builder.block)
        kind: Any = joined(values[0].kind, values[1].kind)
        registers = []
        for value, end in zip(values, ends, strict=True):
            builder.position_at_end(end)
            registers.append(numbers.cast(builder, value, kind))
            builder.branch(blocks[2])
        builder.position_at_end(blocks[2])
        phi = builder.phi(REGISTERS[kind])
        for register, end in zip(registers, ends, strict=True):
            phi.add_incoming(register, end)
        return Value(kind, [phi])

    def _call(self, node: ast.Call) -> Term:
        return self.called(node)
