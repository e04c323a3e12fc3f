"""Instructions for scalars: conversions, arithmetic and comparisons as Python and NumPy define them, each rounded once."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from knnscope.certified.cpu.compiler import ir
from knnscope.certified.cpu.compiler.kinds import BOOL, F32, F64, I64, ITEMS, CompileError, Number, joined
from knnscope.certified.cpu.compiler.registers import REGISTERS, STORED, Value

FLOATS = (F32, F64)
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
WHOLE = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.LShift: "shl", ast.RShift: "ashr", ast.BitAnd: "and_",
    ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
FLOAT = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}


def constant(of: Any) -> Value | None:
    """A number that is known, None for what is no number."""
    if isinstance(of, bool | np.bool_):
        return Value(BOOL, [ir.Constant(REGISTERS[BOOL], int(of))])
    if isinstance(of, int | np.integer):
        return Value(I64, [ir.Constant(REGISTERS[I64], int(of))])
    if isinstance(of, np.float32):
        return Value(F32, [ir.Constant(REGISTERS[F32], float(of))])
    if isinstance(of, float):  # np.float64 too
        return Value(F64, [ir.Constant(REGISTERS[F64], float(of))])
    return None


def cast(builder: Any, value: Value, to: Number) -> Any:
    """The register of a number as another kind."""
    (register,), kind, type_ = value.parts, value.kind, REGISTERS[to]
    if kind == to:
        return register
    if to == BOOL:
        zero = ir.Constant(register.type, 0)
        if kind in FLOATS:
            return builder.fcmp_unordered("!=", register, zero)
        return builder.icmp_signed("!=", register, zero)
    if to == I64:
        return builder.zext(register, type_) if kind == BOOL else builder.fptosi(register, type_)
    if kind == F32:
        return builder.fpext(register, type_)
    if kind == F64:
        return builder.fptrunc(register, type_)
    return builder.uitofp(register, type_) if kind == BOOL else builder.sitofp(register, type_)


def stored(builder: Any, value: Value, dtype: str) -> Any:
    """What goes to memory."""
    type_, kind = STORED[dtype], ITEMS[dtype]
    if kind == I64 and value.kind in FLOATS:
        return builder.fptosi(value.parts[0], type_)
    register = cast(builder, value, kind)
    if kind == BOOL:
        return builder.zext(register, type_)
    return builder.trunc(register, type_) if kind == I64 and type_.width < 64 else register


def loaded(builder: Any, register: Any, dtype: str) -> Value:
    """What came from memory."""
    type_, kind = STORED[dtype], ITEMS[dtype]
    if kind == BOOL:
        register = builder.icmp_unsigned("!=", register, ir.Constant(type_, 0))
    elif kind == I64 and type_.width < 64:
        wide = REGISTERS[I64]
        register = builder.zext(register, wide) if dtype.startswith("u") else builder.sext(register, wide)
    return Value(kind, [register])


def call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """An intrinsic of LLVM, or a function of the C library."""
    module = builder.module
    function = module.functions.get(name) or ir.Function(module, result, [a.type for a in args], name)
    return builder.call(function, args)


def of_float(builder: Any, name: str, value: Value) -> Value:
    """``llvm.name`` of a number, of whole ones as float64."""
    kind = value.kind if value.kind in FLOATS else F64
    register = call(builder, f"llvm.{name}.{kind}", REGISTERS[kind], cast(builder, value, kind))
    return Value(kind, [register])


def compared(builder: Any, how: str, one: Value, other: Value) -> Any:
    """A bit."""
    kind: Any = joined(one.kind, other.kind)
    a, b = cast(builder, one, kind), cast(builder, other, kind)
    if kind in FLOATS:
        return builder.fcmp_unordered(how, a, b) if how == "!=" else builder.fcmp_ordered(how, a, b)
    return builder.icmp_unsigned(how, a, b) if kind == BOOL else builder.icmp_signed(how, a, b)


def chosen(builder: Any, how: str, values: list[Value]) -> Value:
    """``min`` or ``max``, as Python has it: a later one that is not compared (NaN) is not taken."""
    kind: Any = values[0].kind
    for value in values[1:]:
        kind = joined(kind, value.kind)
    best = cast(builder, values[0], kind)
    for value in values[1:]:
        register = cast(builder, value, kind)
        better = compared(builder, how, Value(kind, [register]), Value(kind, [best]))
        best = builder.select(better, register, best)
    return Value(kind, [best])


def computed(builder: Any, operator: ast.operator, one: Value, other: Value) -> Value:
    """One operator of two numbers.

    Raises:
        CompileError: it is none of theirs.
    """
    kind: Any = joined(one.kind, other.kind)
    how = type(operator)
    if kind == BOOL and how in (ast.BitAnd, ast.BitOr, ast.BitXor):
        return Value(BOOL, [getattr(builder, WHOLE[how])(one.parts[0], other.parts[0])])
    if kind == BOOL:
        kind = I64
    if how is ast.Div and kind == I64:
        kind = F64
    a, b = cast(builder, one, kind), cast(builder, other, kind)
    if kind in FLOATS and how in FLOAT:
        return Value(kind, [getattr(builder, FLOAT[how])(a, b)])
    if kind == I64 and how in (ast.Add, ast.Sub, ast.Mult):
        return Value(kind, [getattr(builder, WHOLE[how])(a, b, flags="nsw ")])
    if kind == I64 and how in WHOLE:
        return Value(kind, [getattr(builder, WHOLE[how])(a, b)])
    if kind == I64 and how in (ast.FloorDiv, ast.Mod):
        return Value(kind, [_divided(builder, how, a, b)])
    raise CompileError(f"{how.__name__} of {one.kind} and {other.kind}")


def _divided(builder: Any, how: Any, a: Any, b: Any) -> Any:
    """Rounded downwards; by powers of two with what is fastest."""
    known = b.constant if isinstance(b, ir.Constant) else 0
    if known > 0 and known & (known - 1) == 0:
        if how is ast.Mod:
            return builder.and_(a, ir.Constant(a.type, known - 1))
        return builder.ashr(a, ir.Constant(a.type, known.bit_length() - 1))
    quotient, rest = builder.sdiv(a, b), builder.srem(a, b)
    zero = ir.Constant(a.type, 0)
    below = builder.and_(builder.icmp_signed("!=", rest, zero), builder.icmp_signed("<", builder.xor(rest, b), zero))
    if how is ast.Mod:
        return builder.select(below, builder.add(rest, b), rest)
    return builder.sub(quotient, builder.zext(below, a.type))
