"""How functions are compiled here: without the interpreter's lock, kept on disk, one at a time, and never half.

A compiler is code with much state, which an exception from a signal handler would leave half changed, and a fork would copy
with its lock held. Signal handlers run in the main thread only: so what the main thread needs is compiled in another one. A fork waits until the
compiler is at rest.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import struct
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import loader, object_code
from knnscope.certified.cpu.code_cache import INSTRUCTIONS, Shelf, any_kept, keep
from knnscope.certified.cpu.compiler import kinds
from knnscope.certified.cpu.object_code import ObjectCode
from knnscope.certified.cpu.threads import start_thread
from knnscope.compiling import SPENT
from knnscope.errors import KnnscopeError
from knnscope.progress import say

FORK_WAITS = 60.0
"""Seconds; a function takes up to 2 to compile."""
HEAD = object.__basicsize__
"""Bytes of an object's head, behind which an array's own fields begin."""
ENTRY = "; entry"
"""Behind the types of a unit that is an entry for Python alone."""
NO_MEMORY = -(2**63)
"""What compiled code answers where there was no memory."""

_compiling = threading.RLock()
_forks: list[bool] = []
"""Whether the fork that is under way waited until the compiler was at rest."""
_half = False
"""Whether this process was forked from a compiler at work."""


class Entry(NamedTuple):
    """Machine code for some kinds of arguments.

    call: of their bytes. address: of it, for compiled callers. form: a letter for each number and array, as ``struct`` has them.
    pack: numbers, and addresses of arrays' objects, as bytes. result: of what it answers.
    """

    call: Callable[[bytes], Any]
    form: str
    pack: Callable[..., bytes]
    result: Callable[[Any], Any]
    address: int


class Calls(NamedTuple):
    """Calls of one function: its machine code, and their arguments, int64, (calls, words): numbers, and addresses of arrays' objects."""

    entry: Entry
    arguments: npt.NDArray[np.int64]

    def one(self, number: int) -> Any:
        """Make one of them: what it answers."""
        return self.entry.result(self.entry.call(self.arguments[number].tobytes()))


class Given(NamedTuple):
    """First arguments of calls, what tells their kinds, and what is handed over of them."""

    first: tuple[Any, ...]
    key: list[Any]
    leaves: list[Any]

    @classmethod
    def of(cls, first: tuple[Any, ...]) -> Given:
        """Look at them."""
        made = cls(first, [], [])
        for one in first:
            _lay_out(one, made.key, made.leaves)
        return made


class Compiled:
    """A function that is compiled for the kinds of arguments that it meets, or part of those that call it."""

    def __init__(
        self, function: Callable[..., Any], inline: bool = False, apart: bool = False, unrolled: bool = False
    ) -> None:
        self.py_func, self.inline, self.apart, self.unrolled, self.from_disk = function, inline, apart, unrolled, 0
        self.__name__, self.__qualname__, self.__doc__ = function.__name__, function.__qualname__, function.__doc__
        self._shelf = Shelf(f"{function.__module__}.{function.__qualname__}")
        self._entries: dict[tuple[Any, ...], Entry] = {}

    def __call__(self, *args: Any) -> Any:
        """Compute, in compiled code."""
        key: list[Any] = []
        leaves: list[Any] = []
        for one in args:
            _lay_out(one, key, leaves)
        entry = self._entries.get(tuple(key)) or self.entry(*args)
        return entry.result(entry.call(entry.pack(*leaves)))

    def entry(self, *args: Any) -> Entry:
        """Machine code for arguments such as these."""
        key: list[Any] = []
        for one in args:
            _lay_out(one, key, [])
        found = self._entries.get(tuple(key))
        if found is None:
            found = self._entries[tuple(key)] = _undisturbed(self._made)(args)
        return found

    def for_each(self, given: Given, others: Sequence[tuple[Any, ...]]) -> Calls:
        """What compiled code needs to call this function several times, with arguments of the same kinds each time.

        Args:
            given: arguments that all calls have.
            others: of each, the others; the arrays among them have to live until the calls have ended.
        """
        key, known = list(given.key), len(given.leaves)
        for one in others[0]:
            _lay_out(one, key, [])
        entry = self._entries.get(tuple(key)) or self.entry(*given.first, *others[0])
        begun, pack = struct.pack(entry.form[:known], *given.leaves), struct.Struct(entry.form[known:]).pack
        lines: list[bytes] = []
        for more in others:
            own: list[Any] = []
            _leaves(more, own)
            lines += begun, pack(*own)
        # a bytearray, since some of it is written over (programs.py)
        arguments = np.frombuffer(bytearray().join(lines), dtype=np.int64)
        return Calls(entry, arguments.reshape(len(others), -1))

    def bound(self, *first: Any) -> Bound:
        """The function with its first arguments given."""
        return Bound(self, first)

    def object_code(self, given: list[kinds.Kind], entry: bool = False) -> ObjectCode:
        """The unit of this function for some arguments, loaded, with an ``entry`` for Python; compiled where it is not on disk.

        A unit that compiled callers wanted first has none: then the entry is another one.
        """
        types_ = ", ".join(map(str, given))
        found = self._unit(types_, given, entry)
        return found if not entry or found.symbol in loader.addresses else self._unit(f"{types_}{ENTRY}", given, entry)

    def _unit(self, types_: str, given: list[kinds.Kind], entry: bool) -> ObjectCode:
        file = self._shelf.file(types_)
        if file in object_code.loaded:
            return object_code.loaded[file]
        found = object_code.kept(file, self._shelf.head(types_))
        if found is None:
            _announce()
            found = self._written(types_, given, entry)
            self._shelf.save(types_, found.body())
            object_code.load(found)
        else:
            self.from_disk += 1
        return found

    def _made(self, args: tuple[Any, ...]) -> Entry:
        _check_layout()
        given = [kinds.kind_of(one) for one in args]
        code = self.object_code(given, entry=True)
        kind, convert = GIVEN[code.gives]
        call = ctypes.CFUNCTYPE(kind, ctypes.c_char_p)(loader.addresses[code.symbol])
        form = "".join(map(_format, given))
        return Entry(call, form, struct.Struct(form).pack, convert, loader.addresses[code.symbol])

    def _written(self, types_: str, given: list[kinds.Kind], entry: bool) -> ObjectCode:
        # LLVM takes 40 MB, which who finds all compiled goes without
        from knnscope.certified.cpu.compiler import machine
        from knnscope.certified.cpu.compiler.unit import Unit

        symbol = self._shelf.symbol(types_)
        unit = Unit(symbol, lambda function, more: function.object_code(more))
        if self.apart and not types_.endswith(ENTRY):
            gives = unit.body(self, given)
        if entry:
            gives = unit.entry(self, given, HEAD)
        keep(INSTRUCTIONS, " ".join(sorted(machine.instructions())).encode())
        code = machine.compiled(unit.module, unit.unrolled)
        return ObjectCode(self._shelf.file(types_), symbol, gives, unit.fails, tuple(unit.needs), code)


class Bound:
    """A function with its first arguments given, for calls whose others are of the same kinds each time: nothing is looked at again."""

    def __init__(self, function: Compiled, first: tuple[Any, ...]) -> None:
        self._function, self._first = function, first
        self._ready: tuple[Callable[[bytes], Any], bytes, Callable[..., bytes], Callable[[Any], Any]] | None = None
        self._leaves: list[Any] = []
        for one in first:
            _lay_out(one, [], self._leaves)

    def __call__(self, others: tuple[Any, ...], *leaves: Any) -> Any:
        """Compute.

        Args:
            others: arguments.
            leaves: the same one after another: numbers, and ``id`` of each array.
        """
        if self._ready is None:
            entry, known = self._function.entry(*self._first, *others), len(self._leaves)
            begun, rest = struct.pack(entry.form[:known], *self._leaves), struct.Struct(entry.form[known:]).pack
            self._ready = entry.call, begun, rest, entry.result
        call, begun, rest, result = self._ready
        return result(call(begun + rest(*leaves)))


def _whole(answer: int) -> int:
    if answer == NO_MEMORY:
        raise MemoryError("no memory for a search")
    return answer


def _bit(answer: int) -> bool:
    return answer == 1 or bool(_whole(answer))


@cache
def _check_layout() -> None:
    """Compiled code reads arrays as C libraries do: behind the head of their objects.

    Raises:
        KnnscopeError: this NumPy, or this Python, has them otherwise.
    """
    array = np.empty((2, 3), dtype=np.int16)[:, 1:]
    data, _, shape, strides = (ctypes.c_ssize_t.from_address(id(array) + HEAD + 8 * place).value for place in range(4))
    words = (
        [tuple((ctypes.c_ssize_t * 2).from_address(base)) for base in (shape, strides)]
        if data == array.ctypes.data
        else []
    )
    if words != [array.shape, array.strides]:
        raise KnnscopeError(
            f"NumPy {np.__version__} keeps arrays otherwise than compiled code reads them: certified search does not run"
        )


def _nothing(answer: int) -> None:
    _whole(answer)


GIVEN: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "number": (ctypes.c_double, float), "bit": (ctypes.c_int64, _bit), "whole": (ctypes.c_int64, _whole), "nothing": (ctypes.c_int64, _nothing),
}  # fmt: skip
"""What functions give: as C has it, and as Python does."""


def _format(kind: Any) -> str:
    items = getattr(kind, "items", None)
    if items is not None:
        return "".join(map(_format, items))
    return "d" if getattr(kind, "name", "") in ("f64", "f32") else "q"


def _lay_out(value: Any, key: list[Any], leaves: list[Any]) -> None:
    """What tells the kind of an argument, and what is handed over of it: of arrays the address of the object, which lives as long as the call."""
    cls = type(value)
    if isinstance(value, np.ndarray):
        key.append((value.dtype, value.ndim, value.flags.c_contiguous))
        leaves.append(id(value))
    elif isinstance(value, tuple):
        key.append((cls, len(value)))
        for one in value:
            _lay_out(one, key, leaves)
    else:
        key.append(cls)
        leaves.append(value)


def _leaves(values: tuple[Any, ...], leaves: list[Any]) -> None:
    """What is handed over of arguments whose kinds are known."""
    for one in values:
        if isinstance(one, np.ndarray):
            leaves.append(id(one))
        elif isinstance(one, tuple):
            _leaves(one, leaves)
        else:
            leaves.append(one)


def places_of(array: npt.NDArray[Any], values: tuple[Any, ...]) -> list[int]:
    """Where an array stands among what is handed over of arguments."""

    def flat(some: tuple[Any, ...]) -> Iterator[Any]:
        for one in some:
            if isinstance(one, tuple):
                yield from flat(one)
            else:
                yield one

    return [place for place, one in enumerate(flat(values)) if one is array]


def compiled(inline: bool = False, apart: bool = False, unrolled: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: a function in compiled code.

    Args:
        inline: it becomes part of those that call it.
        apart: it has a unit of its own, which others call, so that it is optimised once: for what is long and called seldom.
        unrolled: LLVM unrolls loops of units that it is in, and makes vectors of their turns, where it thinks fit: for what takes time in Python's own loops.
    """
    return lambda function: Compiled(function, inline, apart, unrolled)


def specialised(
    function: Callable[..., Any], name: str, apart: bool = False, unrolled: bool = False, **given: Any
) -> Any:
    """A function compiled with some of its globals replaced; under a name of its own, since kept code goes by name."""
    made = types.FunctionType(function.__code__, {**function.__globals__, **given}, name)
    made.__qualname__ = name
    made.__module__ = function.__module__
    return Compiled(made, apart=apart, unrolled=unrolled)


@cache
def _announce() -> None:
    """Said once on a terminal, before the first function that is not found compiled."""
    if sys.stderr.isatty() and not any_kept():
        say("compiling certified search for this processor: this once, some 10 s (knnscope warm does it beforehand)")


def _undisturbed(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    """``compile_for``, where no signal handler interrupts it."""

    def alone(args: Any, options: Any) -> Any:
        with _compiling, SPENT.counted():
            if _half:
                raise KnnscopeError(
                    "this process was forked while another thread compiled: search once before the fork, or start processes with spawn"
                )
            return compile_for(*args, **options)

    def elsewhere(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return alone(args, options)
        made: list[Any] = []
        failed: list[BaseException] = []
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                made.append(alone(args, options))
            except BaseException as error:
                failed.append(error)
            finally:
                done.release()

        if not start_thread(work):
            return alone(args, options)
        done.acquire()
        if failed:
            raise failed[0]
        return made[0]

    return elsewhere


def _before_fork() -> None:
    _forks.append(_compiling.acquire(timeout=FORK_WAITS))


def _after_fork() -> None:
    if _forks.pop():
        _compiling.release()


def _in_child() -> None:
    global _compiling, _half
    if not _forks.pop():
        _compiling, _half = threading.RLock(), True
    else:
        _compiling.release()


def _before_exit() -> None:
    """A process ends when its compiler is at rest: threads that run while it is taken apart would crash it."""
    _compiling.acquire(timeout=FORK_WAITS)


atexit.register(_before_exit)
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
