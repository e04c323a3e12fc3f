"""A unit: one function that Python calls, and all that it calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knnscope.certified.cpu.compiler import arrays, ir, numbers, source
from knnscope.certified.cpu.compiler.body import KEEPER, Body
from knnscope.certified.cpu.compiler.kinds import BOOL, F32, F64, I64, Array, CompileError, Kind, Record, has_array
from knnscope.certified.cpu.compiler.registers import POINTER, REGISTERS, Value, registers

WORD, BIT = REGISTERS[I64], REGISTERS[BOOL]
INNER = "_inner"
"""Behind the name of what Python calls: what other units call, with registers."""
GIVES: dict[str, Kind] = {"nothing": Record(None, ()), "bit": BOOL, "whole": I64, "number": F64}
NO_MEMORY = -(2**63)
"""What a unit answers where there was no memory."""
ROOM = 128
"""Bytes before an array: the address of the one before it, and what it takes to begin with a cache line."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A function for some kinds of arguments: what it gives, and whether it may find no memory."""

    function: Any
    result: Kind
    fails: bool


class Unit:
    """What becomes one piece of machine code."""

    def __init__(self, name: str, apart: Callable[[Any, list[Kind]], Any]) -> None:
        """Begin.

        Args:
            name: what Python calls it by.
            apart: gives the unit of a function that has its own, and kinds of its arguments: a ``ObjectCode``.
        """
        self.module = ir.Module(name)
        self.needs: list[str] = []
        """Files of units that this one calls."""
        self.unrolled = self.fails = False
        """Whether a function of it has loops to unroll; whether it may find no memory."""
        self._apart = apart
        self._instances: dict[tuple[Any, ...], Instance] = {}
        self._numbers = itertools.count()

    def instance(self, function: Any, kinds: list[Kind]) -> Instance:
        """A function for these arguments, written or declared the first time."""
        key = (function, *kinds)
        if key not in self._instances:
            self._instances[key] = (self._declare if function.apart else self._write)(function, kinds)
        return self._instances[key]

    def _declare(self, function: Any, kinds: list[Kind]) -> Instance:
        """A function of another unit."""
        code = self._apart(function, kinds)
        self.needs.append(code.file)
        result = GIVES[code.gives]
        made = ir.Function(self.module, _type(result, code.fails), _types(kinds), code.symbol + INNER)
        return Instance(made, result, code.fails)

    def _write(self, function: Any, kinds: list[Kind]) -> Instance:
        name = f"{function.__name__}.{next(self._numbers)}"
        node, names = source.definition(function.py_func), source.names(function.py_func)
        given = [argument.arg for argument in node.args.args]
        if len(given) != len(kinds):
            raise CompileError(f"{function.__name__} takes {len(given)} arguments, not {len(kinds)}")
        self.unrolled = self.unrolled or function.unrolled
        learned: dict[str, Kind] = {}
        while True:  # until it was written with all that is known in the end
            made = ir.Function(self.module, ir.VOID, _types(kinds), name)
            made.linkage = "internal"
            if function.inline:
                made.attributes.append("alwaysinline")
            body = Body(self, made, names, learned)
            body.run(_arguments(given, kinds, made.args), node)
            result, fails = learned.setdefault("return", Record(None, ())), body.fails
            if body.holds():
                break
        made.result = _type(result, fails)
        if has_array(result):
            made.args.insert(0, KEEPER)

        def end(builder: Any, failed: bool, parts: list[Any]) -> None:
            _answer(builder, made.result, [*([ir.Constant(BIT, failed)] if fails else []), *parts])

        body.ended(end)
        return Instance(made, result, fails)

    def body(self, function: Any, kinds: list[Kind]) -> str:
        """The function that other units call, with registers: what it gives, as ``entry`` tells it."""
        instance = self._instances[(function, *kinds)] = self._write(function, kinds)
        instance.function.linkage, instance.function.name = "", self.module.name + INNER
        self.fails = instance.fails
        return _gives(function, instance)

    def entry(self, function: Any, kinds: list[Kind], head: int) -> str:
        """The function that Python calls, with one address: of its arguments, 8 bytes for each number and each array's object.

        Args:
            function: compiled.
            kinds: of its arguments.
            head: bytes of an object's head.

        Returns:
            What it gives: a key of ``jit.GIVEN``.
        """
        instance = self.instance(function, kinds)
        gives, self.fails = _gives(function, instance), instance.fails
        result = WORD if instance.result != F64 else REGISTERS[F64]
        entry = ir.Function(self.module, result, [POINTER], self.module.name)
        builder = ir.Builder(entry.append_basic_block("entry"))
        given = _Given(builder, entry.args[0], head)
        answer = builder.call(instance.function, [part for kind in kinds for part in given.value(kind).parts])
        failed = None
        if instance.fails:
            failed, answer = (
                (answer, None)
                if not registers(instance.result)
                else (builder.extract_value(answer, 0), builder.extract_value(answer, 1))
            )
        if instance.result == F64:
            builder.ret(answer)
            return gives
        word = (
            numbers.cast(builder, Value(instance.result, [answer]), I64)
            if registers(instance.result)
            else arrays.number(0)
        )
        builder.ret(builder.select(failed, arrays.number(NO_MEMORY), word) if failed is not None else word)
        return gives

    def allocate(self) -> Any:
        """``(arena, bytes)``: memory from a cache line on, or null."""
        return self._helper("allocate", POINTER, [POINTER, WORD], _allocate)

    def release(self) -> Any:
        """Give back all that an arena has."""
        return self._helper("release", ir.VOID, [POINTER], _release)

    def _helper(self, name: str, result: Any, given: list[Any], write: Callable[[Any, Any], None]) -> Any:
        function = self.module.functions.get(name)
        if function is None:
            function = ir.Function(self.module, result, given, name)
            function.linkage = "internal"
            function.attributes.append("noinline")
            write(ir.Builder(function.append_basic_block("entry")), function.args)
        return function


def _gives(function: Any, instance: Instance) -> str:
    if instance.result not in GIVES.values() or (instance.result == F64 and instance.fails):
        raise CompileError(f"{function.__name__} gives {instance.result}, which Python does not take")
    return next(gives for gives, kind in GIVES.items() if kind == instance.result)


def _type(result: Kind, fails: bool) -> Any:
    answer = [*([BIT] if fails else []), *registers(result)]
    return ir.VOID if not answer else answer[0] if len(answer) == 1 else ir.StructType(answer)


def _types(kinds: list[Kind]) -> list[Any]:
    return [type_ for kind in kinds for type_ in registers(kind)]


def _arguments(names: list[str], kinds: list[Kind], args: Any) -> list[tuple[str, Value]]:
    found, at = [], 0
    for name, kind in zip(names, kinds, strict=True):
        size = len(registers(kind))
        found.append((name, Value(kind, list(args[at : at + size]))))
        at += size
    return found


def _answer(builder: Any, type_: Any, parts: list[Any]) -> None:
    if not parts:
        builder.ret_void()
    elif len(parts) == 1:
        builder.ret(parts[0])
    else:
        whole = ir.Constant(type_, ir.Undefined)
        for place, part in enumerate(parts):
            whole = builder.insert_value(whole, part, place)
        builder.ret(whole)


class _Given:
    """Arguments from Python, one after another."""

    def __init__(self, builder: Any, block: Any, head: int) -> None:
        self._builder, self._block, self._head, self._place = builder, block, head, 0

    def value(self, kind: Kind) -> Value:
        """The next."""
        if isinstance(kind, Record):
            return Value(kind, [part for item in kind.items for part in self.value(item).parts])
        type_ = POINTER if isinstance(kind, Array) else REGISTERS[F64] if kind in (F64, F32) else WORD
        at = self._builder.gep(self._block, arrays.number(8 * self._place), arrays.BYTE)
        register = self._builder.load(at, type_, align=1)
        self._place += 1
        if isinstance(kind, Array):
            return arrays.of_python(self._builder, kind, register, self._head)
        sent = F64 if kind == F32 else I64 if kind == BOOL else kind
        return Value(kind, [numbers.cast(self._builder, Value(sent, [register]), kind)])


def _allocate(builder: Any, args: Any) -> None:
    size = builder.add(args[1], arrays.number(ROOM))
    raw = numbers.call(builder, "malloc", POINTER, size)
    null = ir.Constant(POINTER, None)
    held = builder.append_basic_block("held")
    failed = builder.append_basic_block("failed")
    builder.cbranch(builder.icmp_unsigned("==", raw, null), failed, held)
    builder.position_at_end(failed)
    builder.ret(null)
    builder.position_at_end(held)
    builder.store(builder.load(args[0], POINTER), raw)
    builder.store(raw, args[0])
    address = builder.add(builder.ptrtoint(raw, WORD), arrays.number(ROOM // 2 + 8))
    builder.ret(builder.inttoptr(builder.and_(address, arrays.number(-64)), POINTER))


def _release(builder: Any, args: Any) -> None:
    before = builder.block
    head, turn, after = (builder.append_basic_block(name) for name in ("head", "turn", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    one = builder.phi(POINTER)
    one.add_incoming(args[0], before)
    builder.cbranch(builder.icmp_unsigned("==", one, ir.Constant(POINTER, None)), after, turn)
    builder.position_at_end(turn)
    following = builder.load(one, POINTER)
    numbers.call(builder, "free", ir.VOID, one)
    one.add_incoming(following, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    builder.ret_void()
