"""The body of one function, statement by statement."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from knnscope.certified.cpu.compiler import arrays, ir, numbers, source
from knnscope.certified.cpu.compiler.kinds import (
    BOOL,
    I64,
    Array,
    CompileError,
    Kind,
    Number,
    Record,
    has_array,
    joined,
)
from knnscope.certified.cpu.compiler.library import Library
from knnscope.certified.cpu.compiler.registers import (
    BY_REGISTER,
    POINTER,
    REGISTERS,
    Constant,
    Slot,
    Value,
    registers,
)
from knnscope.certified.cpu.compiler.terms import Term

SMALL = 4096
"""Bytes of an array of known size that lies on the stack, where the function gives no array back."""
KEEPER = ir.Register(POINTER, "%keeper")
"""The argument of functions that give arrays back: where the caller keeps them."""


class Body(Library):
    """Writes a function into ``function``; what its variables are is learned, so that it is written anew where that came too late."""

    def __init__(self, unit: Any, function: Any, names: dict[str, Any], learned: dict[str, Kind]) -> None:
        self.unit, self.function, self.names, self.learned = unit, function, names, learned
        self._places: dict[str, Value] = {}
        self._fixed: frozenset[str] = frozenset()
        self._gives, self._widened = self._gives_arrays(), False
        self._loops: list[tuple[Any, Any]] = []
        self._entry = function.append_basic_block("entry")
        self.builder = ir.Builder(function.append_basic_block("body"))
        self._exit = function.append_basic_block("exit")
        self._failed: Any = None
        self._keeper: Any = KEEPER if self._gives else None
        """Where the first of this function's arrays is kept, or the caller's."""
        self.fails = False

    def _gives_arrays(self) -> bool:
        return "return" in self.learned and has_array(self.learned["return"])

    def holds(self) -> bool:
        """Whether what was written is right for all that was learned meanwhile."""
        return not self._widened and self._gives == self._gives_arrays()

    # what the function holds

    def slot(self, type_: Any, align: int = 0) -> Slot:
        """Room for a register."""
        return Slot(type_, ir.Builder(self._entry).alloca(type_, align).name)

    def assign(self, name: str, value: Value) -> None:
        """A variable's new value."""
        if name in self._fixed:
            self._places[name] = value
            return
        kind = joined(self.learned.get(name, value.kind), value.kind)
        self.learned[name] = kind
        if name not in self._places or self._places[name].kind != kind:
            self._widened = self._widened or name in self._places
            self._places[name] = Value(kind, [self.slot(type_) for type_ in registers(kind)])
        for register, place in zip(self.parts_as(value, kind), self._places[name].parts, strict=True):
            self.builder.store(register, place)

    def parts_as(self, value: Value, kind: Kind) -> list[Any]:
        """The registers of a value as one of a kind that holds it."""
        if value.kind == kind:
            return value.parts
        if isinstance(kind, Number):
            return [numbers.cast(self.builder, value, kind)]
        if isinstance(kind, Record):
            return [
                part for one, item in zip(value.items(), kind.items, strict=True) for part in self.parts_as(one, item)
            ]
        return arrays.loose(self.builder, value).parts

    def place(self, name: str) -> Value | None:
        """Where a variable lies: slots, or registers where it is ``source.fixed``."""
        return self._places.get(name)

    def read(self, place: Value) -> Value:
        """What lies there."""
        load = self.builder.load
        return Value(place.kind, [load(one, one.holds) if isinstance(one, Slot) else one for one in place.parts])

    def new(self, dtype: str, shape: list[Any]) -> Value:
        """An array that ends with this function, or with the caller's where this one gives arrays back."""
        kind = Array(dtype, len(shape), "C")
        size = kind.itemsize
        for one in shape:
            size = size * one.constant if isinstance(one, ir.Constant) else SMALL + 1
        if size <= SMALL and not self._gives:
            room = self.slot(ir.bytes_type(max(1, size)), 64)
            return Value(kind, [ir.Register(POINTER, room.name), *shape])
        count = arrays.product(self.builder, shape)
        bytes_ = self.builder.mul(count, arrays.number(kind.itemsize))
        made = self.builder.call(self.unit.allocate(), [self.arena(), bytes_])
        self.check(self.builder.icmp_unsigned("==", made, ir.Constant(POINTER, None)))
        return Value(kind, [made, *shape])

    def arena(self) -> Any:
        """Where arrays of this function are kept until it ends."""
        if self._keeper is None:
            self._keeper = ir.Register(POINTER, self.slot(POINTER).name)
            ir.Builder(self._entry).store(ir.Constant(POINTER, None), self._keeper)
        return self._keeper

    def check(self, bit: Any) -> None:
        """End the function where there is no memory."""
        self.fails = True
        if self._failed is None:
            self._failed = self.function.append_basic_block("failed")
        following = self.builder.append_basic_block("held")
        self.builder.cbranch(bit, self._failed, following)
        self.builder.position_at_end(following)

    def fill(self, array: Value, value: Value) -> None:
        """Every item of an array."""
        kind = arrays.kind_of(array)
        if kind.layout != "C" and kind.ndim > 1:
            raise CompileError("an array that is not in one piece is filled line by line")
        flat = array if kind.ndim == 1 else arrays.reshaped(array, [arrays.product(self.builder, array.shape)])
        self.turns(flat.shape[0], lambda place: arrays.put(self.builder, flat, [place], value))

    # statements

    def run(self, arguments: list[tuple[str, Value]], node: ast.FunctionDef) -> None:
        """Write all."""
        self._fixed = source.fixed(node)
        for name, value in arguments:
            self.assign(name, value)
        self.block(node.body)
        if not self.builder.block.is_terminated:
            self._return(ast.Return(None))
        self.builder = ir.Builder(self._exit)

    def ended(self, answer: Callable[[Any, bool, list[Any]], None]) -> None:
        """Write the ends: without arrays of its own, the answer, or that there was no memory."""
        kind = self.learned.get("return", Record(None, ()))
        for block, failed in ((self._exit, False), (self._failed, True)):
            if block is None:
                continue
            builder = self.builder = ir.Builder(block)
            if self._keeper not in (None, KEEPER):
                builder.call(self.unit.release(), [builder.load(self._keeper, POINTER)])
            if failed:
                parts = [ir.Constant(type_, ir.Undefined) for type_ in registers(kind)]
            else:
                found = self.place("return")
                parts = self.read(found).parts if found else []
            answer(builder, failed, parts)
        ir.Builder(self._entry).branch(self.function.blocks[1])

    def block(self, statements: list[ast.stmt]) -> None:
        """Statements up to one that ends."""
        for statement in statements:
            if self.builder.block.is_terminated:
                return
            write = getattr(self, f"_{type(statement).__name__.lower()}", None)
            try:
                if write is None:
                    raise CompileError(f"{type(statement).__name__} is not compiled")
                write(statement)
            except CompileError as error:
                if "line " in str(error):
                    raise
                raise CompileError(f"{self.function.name}, line {statement.lineno}: {error}") from error

    def _expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.term(node.value)

    def _pass(self, _: ast.Pass) -> None:
        pass

    def _return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.assign("return", self.value(node.value))
        self.builder.branch(self._exit)

    def _assign(self, node: ast.Assign) -> None:
        term = self.term(node.value)
        for target in node.targets:
            self._to(target, term)

    def _to(self, target: ast.expr, term: Term) -> None:
        if isinstance(target, ast.Name):
            self.assign(target.id, self.held(term))
        elif isinstance(target, ast.Tuple):
            items: list[Any] = [Constant(one) for one in term.of] if isinstance(term, Constant) else term.items()
            if len(items) != len(target.elts):
                raise CompileError(f"{len(items)} values for {len(target.elts)} names")
            for one, item in zip(target.elts, items, strict=True):
                self._to(one, item)
        elif isinstance(target, ast.Subscript):
            self._put(self.value(target.value), self.index(target.slice), self.held(term))
        else:
            raise CompileError(f"{type(target).__name__} is not assigned to")

    def _put(self, array: Value, index: list[Any], value: Value) -> None:
        if len(index) == arrays.kind_of(array).ndim and not any(isinstance(one, tuple) for one in index):
            arrays.put(self.builder, array, index, value)
            return
        some = arrays.view(self.builder, array, index)
        if isinstance(value.kind, Number):
            self.fill(some, value)
        elif arrays.kind_of(some).ndim == arrays.kind_of(value).ndim == 1:
            self.turns(
                some.shape[0],
                lambda place: arrays.put(self.builder, some, [place], arrays.get(self.builder, value, [place])),
            )
        else:
            raise CompileError(f"{value.kind} is not assigned to {some.kind}")

    def _augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            before = self.value(ast.Name(node.target.id, ast.Load()))
            self.assign(node.target.id, numbers.computed(self.builder, node.op, before, self.value(node.value)))
            return
        if not isinstance(node.target, ast.Subscript):
            raise CompileError("only names and items are added to")
        array, index = self.value(node.target.value), self.index(node.target.slice)
        before = arrays.get(self.builder, array, index)
        arrays.put(self.builder, array, index, numbers.computed(self.builder, node.op, before, self.value(node.value)))

    def _if(self, node: ast.If) -> None:
        test, builder = self.truth(node.test), self.builder
        if isinstance(test, bool):
            self.block(node.body if test else node.orelse)
            return
        then, otherwise = (builder.append_basic_block(name) for name in ("then", "otherwise"))
        builder.cbranch(test, then, otherwise)
        after = None
        for block, statements in ((then, node.body), (otherwise, node.orelse)):
            builder.position_at_end(block)
            self.block(statements)
            if not builder.block.is_terminated:
                after = after or builder.append_basic_block("after")
                builder.branch(after)
        if after is not None:
            builder.position_at_end(after)

    def _while(self, node: ast.While) -> None:
        builder = self.builder
        head, after = (builder.append_basic_block(name) for name in ("head", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        test = self.truth(node.test)
        if test is not True:
            turn = builder.append_basic_block("turn")
            builder.cbranch(numbers.constant(False).parts[0] if test is False else test, turn, after)  # type: ignore[union-attr]
            builder.position_at_end(turn)
        self._turn(node.body, head, after)

    def _turn(self, statements: list[ast.stmt], following: Any, after: Any) -> None:
        self._loops.append((following, after))
        self.block(statements)
        self._loops.pop()
        if not self.builder.block.is_terminated:
            self.builder.branch(following)
        self.builder.position_at_end(after)

    def _break(self, _: ast.Break) -> None:
        self.builder.branch(self._loops[-1][1])

    def _continue(self, _: ast.Continue) -> None:
        self.builder.branch(self._loops[-1][0])

    def _for(self, node: ast.For) -> None:
        array: Value | None = None
        if isinstance(node.iter, ast.Call) and self._is_range(node.iter.func):
            ends = [self.whole(one) for one in node.iter.args]
            start, stop, step = (
                (arrays.number(0), *ends, arrays.number(1)) if len(ends) == 1 else (*ends, arrays.number(1))[:3]
            )
        else:
            array = self.value(node.iter)
            start, stop, step = arrays.number(0), array.shape[0], arrays.number(1)
        builder, place = self.builder, self.slot(REGISTERS[I64])
        down = isinstance(step, ir.Constant) and step.constant < 0
        builder.store(start, place)
        head, turn, following, after = (builder.append_basic_block(n) for n in ("head", "turn", "following", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.load(place, REGISTERS[I64])
        builder.cbranch(builder.icmp_signed(">" if down else "<", number, stop), turn, after)
        builder.position_at_end(turn)
        self._to(node.target, Value(I64, [number]) if array is None else arrays.get(builder, array, [number]))
        self._turn(node.body, following, after)
        builder.position_at_end(following)
        builder.store(builder.add(builder.load(place, REGISTERS[I64]), step, flags="nsw "), place)
        builder.branch(head)
        builder.position_at_end(after)

    def _is_range(self, function: ast.expr) -> bool:
        return isinstance(function, ast.Name) and self.names.get(function.id) is range

    # calls

    def called(self, node: ast.Call) -> Term:
        """What a call gives."""
        if isinstance(node.func, ast.Attribute):
            owner = self.term(node.func.value)
            if isinstance(owner, Value):
                return self.method(owner, node.func.attr, node)
            function = getattr(owner.of, node.func.attr)
        else:
            function = self.known_as(node.func)
        if hasattr(function, "py_func") or hasattr(function, "writes"):
            values = [self.value(one) for one in node.args]
            return self._written(function, values) if hasattr(function, "writes") else self._compiled(function, values)
        found = self.known(function, node)
        if found is None:
            raise CompileError(f"{function!r} is not called here")
        return found

    def _written(self, function: Any, values: list[Value]) -> Value:
        """Instructions that a function of llvm.py writes."""
        result = function.writes(self.builder, [_plain(value) for value in values])
        return Value(BY_REGISTER[str(result.type)], [result]) if result is not None else Value(Record(None, ()), [])

    def _compiled(self, function: Any, values: list[Value]) -> Value:
        made = self.unit.instance(function, [value.kind for value in values])
        given = [part for value in values for part in value.parts]
        if has_array(made.result):
            given.insert(0, self.arena())
        answer = self.builder.call(made.function, given)
        types = registers(made.result)
        if not made.fails:
            parts = [answer] if len(types) == 1 else [self.builder.extract_value(answer, i) for i in range(len(types))]
            return Value(made.result, parts)
        self.check(self.builder.extract_value(answer, 0) if types else answer)
        return Value(made.result, [self.builder.extract_value(answer, i + 1) for i in range(len(types))])


def _plain(value: Value) -> Any:
    """Registers as instructions take them: of tuples lists."""
    if isinstance(value.kind, Record):
        return [_plain(item) for item in value.items()]
    if value.kind not in (I64, BOOL):
        raise CompileError(f"instructions take whole numbers, not {value.kind}")
    return value.parts[0]
