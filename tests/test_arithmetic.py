"""Arithmetic as IEEE 754 has it, whatever a library set: each case sets the register by hand and looks at it again afterwards."""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator

import pytest

from knnscope import arithmetic
from knnscope.arithmetic import Ieee, is_ieee
from knnscope.errors import KnnscopeError

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the register of x86-64")
DEFAULT = 0x1F80
MODES = {
    "flush results": 0x8000,
    "flush operands": 0x0040,
    "flush both": 0x8040,
    "downwards": 0x2000,
    "upwards": 0x4000,
    "towards zero": 0x6000,
    "towards zero and flush": 0xE040,
}


class Register:
    """MXCSR of this thread, by way of glibc's fenv_t, whose last word it is."""

    PLACE = 28

    def __init__(self) -> None:
        self._library, self._room = ctypes.CDLL(None), ctypes.create_string_buffer(64)

    def get(self) -> int:
        self._library.fegetenv(self._room)
        return int.from_bytes(self._room.raw[self.PLACE : self.PLACE + 4], "little") & ~0x3F  # without what happened

    def set(self, value: int) -> None:
        self._library.fegetenv(self._room)
        self._room[self.PLACE : self.PLACE + 4] = value.to_bytes(4, "little")  # type: ignore[index]
        self._library.fesetenv(self._room)


@pytest.fixture
def register() -> Iterator[Register]:
    register = Register()
    yield register
    register.set(DEFAULT)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_a_mode_is_seen_put_right_and_put_back(register: Register, mode: int) -> None:
    assert is_ieee()
    register.set(DEFAULT | mode)
    assert not is_ieee()
    with Ieee():
        assert is_ieee()
        assert register.get() == DEFAULT
        with Ieee():
            assert is_ieee()
    assert register.get() == DEFAULT | mode
    with pytest.raises(ZeroDivisionError), Ieee():
        raise ZeroDivisionError
    assert register.get() == DEFAULT | mode


def test_threads_inherit_a_mode_and_get_it_put_right(register: Register) -> None:
    seen: list[bool] = []

    def work() -> None:
        seen.append(is_ieee())
        with Ieee():
            seen.append(is_ieee())

    register.set(DEFAULT | 0x8040)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_where_it_cannot_be_changed_the_call_says_no(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: object) -> object:
        raise OSError

    register.set(DEFAULT | 0x8000)
    monkeypatch.setattr(arithmetic.ctypes, "CDLL", nothing)
    with pytest.raises(KnnscopeError, match="flushes subnormal numbers to zero or does not round to nearest"), Ieee():
        raise AssertionError("computed all the same")
