"""LLVM's instructions as text: types, values, functions, and a builder that writes each instruction once.

llvmlite has the same; its objects took more time than LLVM's own reading of them (docs/decisions/058). Names are LLVM's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

Undefined = object()
"""Of a constant: any value."""


class Type:
    """A type, told by its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


class IntType(Type):
    """Whole numbers of so many bits."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        super().__init__(f"i{width}")
        self.width = width


class VectorType(Type):
    """So many numbers side by side."""

    __slots__ = ("count", "element")

    def __init__(self, element: Type, count: int) -> None:
        super().__init__(f"<{count} x {element.text}>")
        self.element, self.count = element, count


class StructType(Type):
    """Values one after another."""

    __slots__ = ("elements",)

    def __init__(self, elements: Sequence[Type]) -> None:
        super().__init__(f"{{{', '.join(one.text for one in elements)}}}")
        self.elements = tuple(elements)


VOID, POINTER = Type("void"), Type("ptr")
HALF, FLOAT, DOUBLE = Type("half"), Type("float"), Type("double")
BIT = IntType(1)


def bytes_type(count: int) -> Type:
    """So many bytes in memory."""
    return Type(f"[{count} x i8]")


class Register:
    """A value: its type, and what instructions call it by."""

    __slots__ = ("name", "type")

    def __init__(self, type_: Any, name: str) -> None:
        self.type, self.name = type_, name


class Constant(Register):
    """A value that is known: a number, numbers of a vector, None for the null pointer, or ``Undefined``."""

    __slots__ = ("constant",)

    def __init__(self, type_: Any, constant: Any) -> None:
        super().__init__(type_, _constant(type_, constant))
        self.constant = constant


def _constant(type_: Any, value: Any) -> str:
    if value is Undefined:
        return "undef"
    if value is None:
        return "null"
    if isinstance(type_, VectorType):
        return f"<{', '.join(f'{type_.element.text} {_constant(type_.element, one)}' for one in value)}>"
    if isinstance(type_, IntType):
        return str(int(value))
    if type_.text == "float":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Block:
    """Instructions that run one after another."""

    __slots__ = ("function", "is_terminated", "lines", "name")

    def __init__(self, function: Function, name: str) -> None:
        self.function, self.name, self.is_terminated = function, name, False
        self.lines: list[Any] = []


class Phi(Register):
    """A value that depends on the block before."""

    __slots__ = ("_incoming",)

    def __init__(self, type_: Any, name: str) -> None:
        super().__init__(type_, name)
        self._incoming: list[str] = []

    def add_incoming(self, value: Register, block: Block) -> None:
        """The value for those who come from a block."""
        self._incoming.append(f"[{value.name}, %{block.name}]")

    def __str__(self) -> str:
        return f"{self.name} = phi {self.type.text} {', '.join(self._incoming)}"


class Function:
    """A function of a module; without blocks one of elsewhere."""

    def __init__(self, module: Module, result: Any, given: Sequence[Any], name: str) -> None:
        self.module, self.name = module, name
        self.result, self.linkage = result, ""
        self.args = [Register(type_, f"%a{place}") for place, type_ in enumerate(given)]
        self.attributes: list[str] = []
        self.blocks: list[Block] = []
        self._names = 0
        module.functions[name] = self

    def fresh(self) -> int:
        """A number that no name in this function has yet."""
        self._names += 1
        return self._names

    def append_basic_block(self, name: str) -> Block:
        """A new block, behind the others."""
        block = Block(self, f"{name}.{self.fresh()}")
        self.blocks.append(block)
        return block

    def __str__(self) -> str:
        if not self.blocks:
            return f'declare {self.result.text} @"{self.name}"({", ".join(one.type.text for one in self.args)})'
        given = ", ".join(f"{one.type.text} {one.name}" for one in self.args)
        lines = [f'define {self.linkage} {self.result.text} @"{self.name}"({given}) {" ".join(self.attributes)} {{']
        for block in self.blocks:
            lines.append(f"{block.name}:")
            lines += map(str, block.lines)
        return "\n".join([*lines, "}"])


class Module:
    """What is compiled at once."""

    def __init__(self, name: str) -> None:
        self.name, self.triple, self.data_layout = name, "", ""
        self.functions: dict[str, Function] = {}

    def __str__(self) -> str:
        head = (f'target triple = "{self.triple}"', f'target datalayout = "{self.data_layout}"')
        return "\n".join([*head, *map(str, self.functions.values())])


def _two(how: str) -> Callable[..., Register]:
    def write(self: Builder, one: Register, other: Register, flags: str = "") -> Register:
        return self.new(one.type, f"{how} {flags}{one.type.text} {one.name}, {other.name}")

    return write


def _cast(how: str) -> Callable[..., Register]:
    def write(self: Builder, value: Register, type_: Any) -> Register:
        if value.type.text == type_.text:
            return value
        return self.new(type_, f"{how} {value.type.text} {value.name} to {type_.text}")

    return write


_SIGNED = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge", "==": "eq", "!=": "ne"}
_UNSIGNED = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "eq", "!=": "ne"}
_ORDERED = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "one"}
_UNORDERED = {"<": "ult", "<=": "ule", ">": "ugt", ">=": "uge", "==": "ueq", "!=": "une", "uno": "uno"}


def _compare(how: str, words: dict[str, str]) -> Callable[..., Register]:
    def write(self: Builder, operator: str, one: Register, other: Register) -> Register:
        count = f"<{one.type.count} x i1>" if isinstance(one.type, VectorType) else "i1"
        bits = VectorType(BIT, one.type.count) if count != "i1" else BIT
        return self.new(bits, f"{how} {words[operator]} {one.type.text} {one.name}, {other.name}")

    return write


class Builder:
    """Writes instructions at the end of a block; ``flags`` such as "nsw " with a blank behind them."""

    __slots__ = ("_function", "_lines", "block")

    def __init__(self, block: Block) -> None:
        self.position_at_end(block)

    def position_at_end(self, block: Block) -> None:
        """Write there from now on."""
        self.block, self._lines, self._function = block, block.lines, block.function

    def append_basic_block(self, name: str) -> Block:
        """A new block of this function."""
        return self._function.append_basic_block(name)

    @property
    def module(self) -> Module:
        """That of the function."""
        return self._function.module

    def new(self, type_: Any, text: str) -> Register:
        """An instruction that gives a value."""
        name = f"%r{self._function.fresh()}"
        self._lines.append(f"{name} = {text}")
        return Register(type_, name)

    add, sub, mul, sdiv, srem = _two("add"), _two("sub"), _two("mul"), _two("sdiv"), _two("srem")
    and_, or_, xor, shl, lshr, ashr = _two("and"), _two("or"), _two("xor"), _two("shl"), _two("lshr"), _two("ashr")
    fadd, fsub, fmul, fdiv = _two("fadd"), _two("fsub"), _two("fmul"), _two("fdiv")
    trunc, zext, sext, bitcast = _cast("trunc"), _cast("zext"), _cast("sext"), _cast("bitcast")
    fpext, fptrunc, fptosi, sitofp, uitofp = map(_cast, ("fpext", "fptrunc", "fptosi", "sitofp", "uitofp"))
    inttoptr, ptrtoint = _cast("inttoptr"), _cast("ptrtoint")
    icmp_signed, icmp_unsigned = _compare("icmp", _SIGNED), _compare("icmp", _UNSIGNED)
    fcmp_ordered, fcmp_unordered = _compare("fcmp", _ORDERED), _compare("fcmp", _UNORDERED)

    def neg(self, value: Register) -> Register:
        """0 - value."""
        return self.sub(Constant(value.type, 0), value)

    def not_(self, value: Register) -> Register:
        """Every bit the other one."""
        return self.xor(value, Constant(value.type, -1))

    def fneg(self, value: Register) -> Register:
        """The other sign."""
        return self.new(value.type, f"fneg {value.type.text} {value.name}")

    def select(self, bit: Register, one: Register, other: Register) -> Register:
        """``one`` where the bit is set."""
        type_ = one.type.text
        return self.new(one.type, f"select {bit.type.text} {bit.name}, {type_} {one.name}, {type_} {other.name}")

    def alloca(self, type_: Any, align: int = 0) -> Register:
        """Room on the stack."""
        return self.new(POINTER, f"alloca {type_.text}{f', align {align}' if align else ''}")

    def load(self, pointer: Register, type_: Any, align: int = 0) -> Register:
        """What lies there; its own alignment is assumed where none is told."""
        return self.new(type_, f"load {type_.text}, ptr {pointer.name}{f', align {align}' if align else ''}")

    def store(self, value: Register, pointer: Register, align: int = 0) -> None:
        """Write there."""
        aligned = f", align {align}" if align else ""
        self._lines.append(f"store {value.type.text} {value.name}, ptr {pointer.name}{aligned}")

    def gep(self, pointer: Register, index: Register, type_: Any) -> Register:
        """The address of one of several items, within what they are part of."""
        words = f"{type_.text}, ptr {pointer.name}, {index.type.text} {index.name}"
        return self.new(POINTER, f"getelementptr inbounds {words}")

    def call(self, function: Function, given: Sequence[Register]) -> Any:
        """What a function gives, None for nothing."""
        return self._call(f'@"{function.name}"', function.result, given)

    def call_at(self, pointer: Register, result: Any, given: Sequence[Register]) -> Any:
        """The same of a function by its address."""
        return self._call(pointer.name, result, given)

    def _call(self, name: str, result: Any, given: Sequence[Register]) -> Any:
        words = ", ".join([f"{one.type.text} {one.name}" for one in given])
        text = f"call {result.text} {name}({words})"
        if result is not VOID:
            return self.new(result, text)
        self._lines.append(text)
        return None

    def extract_value(self, whole: Register, place: int) -> Register:
        """One of several values."""
        return self.new(whole.type.elements[place], f"extractvalue {whole.type.text} {whole.name}, {place}")

    def insert_value(self, whole: Register, value: Register, place: int) -> Register:
        """The same with another value at a place."""
        words = f"{whole.type.text} {whole.name}, {value.type.text} {value.name}, {place}"
        return self.new(whole.type, f"insertvalue {words}")

    def extract_element(self, vector: Register, place: Register) -> Register:
        """One of a vector's numbers."""
        words = f"{vector.type.text} {vector.name}, {place.type.text} {place.name}"
        return self.new(vector.type.element, f"extractelement {words}")

    def insert_element(self, vector: Register, value: Register, place: Register) -> Register:
        """The same with another number at a place."""
        words = f"{vector.type.text} {vector.name}, {value.type.text} {value.name}, {place.type.text} {place.name}"
        return self.new(vector.type, f"insertelement {words}")

    def shuffle_vector(self, one: Register, other: Register, places: Register) -> Register:
        """Numbers of two vectors, by their places in both."""
        type_ = one.type.text
        words = f"{type_} {one.name}, {type_} {other.name}, {places.type.text} {places.name}"
        return self.new(VectorType(one.type.element, places.type.count), f"shufflevector {words}")

    def load_atomic(self, pointer: Register, type_: Any, align: int, order: str = "seq_cst") -> Register:
        """What lies there, in one order for all threads; ``monotonic``: in one for this place alone."""
        return self.new(type_, f"load atomic {type_.text}, ptr {pointer.name} {order}, align {align}")

    def store_atomic(self, value: Register, pointer: Register, align: int, order: str = "seq_cst") -> None:
        """Write there, likewise."""
        self._lines.append(f"store atomic {value.type.text} {value.name}, ptr {pointer.name} {order}, align {align}")

    def atomic_rmw(self, how: str, pointer: Register, value: Register) -> Register:
        """Change what lies there, in one order for all threads: what it was."""
        return self.new(value.type, f"atomicrmw {how} ptr {pointer.name}, {value.type.text} {value.name} seq_cst")

    def cmpxchg(self, pointer: Register, old: Register, value: Register) -> Register:
        """Write where ``old`` lies: what was there, and whether it was."""
        type_ = old.type.text
        words = f"ptr {pointer.name}, {type_} {old.name}, {type_} {value.name} seq_cst seq_cst"
        return self.new(StructType((old.type, BIT)), f"cmpxchg {words}")

    def phi(self, type_: Any) -> Phi:
        """A value that depends on the block before; ``add_incoming`` tells it."""
        made = Phi(type_, f"%r{self._function.fresh()}")
        self._lines.append(made)
        return made

    def branch(self, block: Block) -> None:
        """Go on there."""
        self._end(f"br label %{block.name}")

    def cbranch(self, bit: Register, one: Block, other: Block) -> None:
        """Go on there, or elsewhere."""
        self._end(f"br i1 {bit.name}, label %{one.name}, label %{other.name}")

    def ret(self, value: Register) -> None:
        """End the function."""
        self._end(f"ret {value.type.text} {value.name}")

    def ret_void(self) -> None:
        """End the function, which gives nothing."""
        self._end("ret void")

    def _end(self, text: str) -> None:
        self._lines.append(text)
        self.block.is_terminated = True
