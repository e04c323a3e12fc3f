"""Machine code of an object file, for this process: a loader for what compiler/machine.py writes, without LLVM, which takes 40 MB.

An object file has sections, and places in them where an address or a distance is to be put in. What code here needs of that is little: it is one
file, it refers to itself by distances, and to other files and the C library by name. Whatever else a file holds, it is left to LLVM.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from typing import NamedTuple

HEAD, SECTION, SYMBOL, PATCH = (struct.Struct(form) for form in ("<4sB11x2HI3QI6H", "<2I4Q2I2Q", "<I2BH2Q", "<2Qq"))
"""Of ELF files: the head, and entries of sections, symbols and relocations."""
RELOCATABLE, X86_64, CONTENT, SYMBOLS, RELOCATIONS, WRITTEN, IN_MEMORY = 1, 62, 1, 2, 4, 1, 2
ADDRESS, DISTANCES, BY_TABLE = 1, (2, 4), (9, 41, 42)
"""Relocations of x86-64: an address, a distance in 32 bits, and one to where an address lies."""
JUMP, BEHIND = b"\xff\x25\x02\x00\x00\x00\x00\x00", 8
"""jmp to the address that lies two bytes behind it; so many bytes on."""
LINE = 64
addresses: dict[str, int] = {}
"""Of all functions that are loaded, by name."""
_images: list[mmap.mmap] = []
"""Kept as long as the process: nobody knows who is still at work in one."""


class _OtherError(Exception):
    """The file holds something that is not read here."""


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


def load(code: bytes) -> bool:
    """Make the functions of an object file known; False where it is none for this loader."""
    if sys.platform != "linux":
        return False
    try:
        addresses.update(_Image(code).load())
    except (_OtherError, struct.error, OSError, ValueError, AttributeError):
        return False
    return True


class _Image:
    def __init__(self, code: bytes) -> None:
        magic, bits, type_, machine, _, _, _, at, _, _, _, _, size, count, _ = HEAD.unpack_from(code)
        if (magic, bits, type_, machine, size) != (b"\x7fELF", 2, RELOCATABLE, X86_64, SECTION.size):
            raise _OtherError
        self.code = code
        self.sections = [_Section(*SECTION.unpack_from(code, at + number * size)) for number in range(count)]
        (table,) = [section for section in self.sections if section.type == SYMBOLS]
        self.names = self.sections[table.link].offset
        self.symbols = list(SYMBOL.iter_unpack(code[table.offset : table.offset + table.size]))
        self.places: dict[int, int] = {}
        self.jumps: dict[int, int] = {}
        self.size = 0
        for number, section in enumerate(self.sections):
            if section.type == CONTENT and section.flags & IN_MEMORY and section.size:
                if section.flags & WRITTEN:
                    raise _OtherError
                self.places[number] = self._room(section.size)
        for number, (_, _, _, where, _, _) in enumerate(self.symbols[1:], 1):
            if not where or where in self.places:  # a jump for those outside, and an address for tables
                self.jumps[number] = self._room(BEHIND + 8)

    def _room(self, size: int) -> int:
        place = self.size
        self.size += -(-size // LINE) * LINE
        return place

    def load(self) -> dict[str, int]:
        """Lay the sections out, put in what they refer to, and let it be run, not written any more."""
        memory = mmap.mmap(-1, max(1, self.size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for number, place in self.places.items():
            section = self.sections[number]
            memory[place : place + section.size] = self.code[section.offset : section.offset + section.size]
        for number, place in self.jumps.items():
            address = self._outside(number) if not self.symbols[number][3] else start + self._inside(number)
            memory[place : place + BEHIND + 8] = JUMP + address.to_bytes(8, "little")
        for section in self.sections:
            if section.type == RELOCATIONS and section.info in self.places:
                self._patch(memory, start, section)
        if ctypes.CDLL(None, use_errno=True).mprotect(
            ctypes.c_void_p(start), ctypes.c_size_t(len(memory)), mmap.PROT_READ | mmap.PROT_EXEC
        ):
            raise OSError(ctypes.get_errno(), "mprotect")
        _images.append(memory)
        everybodys = [number for number in self.jumps if self.symbols[number][3] and self.symbols[number][1] >> 4]
        return {self._name(number): start + self._inside(number) for number in everybodys}

    def _patch(self, memory: mmap.mmap, start: int, section: _Section) -> None:
        for offset, info, more in PATCH.iter_unpack(self.code[section.offset : section.offset + section.size]):
            number, how, place = info >> 32, info & 0xFFFFFFFF, self.places[section.info] + offset
            if number not in self.jumps:
                raise _OtherError
            inside = self.symbols[number][3] != 0
            if how == ADDRESS and inside:
                struct.pack_into("<Q", memory, place, start + self._inside(number) + more)
            elif how in DISTANCES:
                struct.pack_into(
                    "<i", memory, place, (self._inside(number) if inside else self.jumps[number]) + more - place
                )
            elif how in BY_TABLE:
                struct.pack_into("<i", memory, place, self.jumps[number] + BEHIND + more - place)
            else:
                raise _OtherError

    def _inside(self, number: int) -> int:
        return self.places[self.symbols[number][3]] + int(self.symbols[number][4])

    def _name(self, number: int) -> str:
        first = self.names + self.symbols[number][0]
        return self.code[first : self.code.index(b"\0", first)].decode()

    def _outside(self, number: int) -> int:
        """The address of a function that was loaded before, or of the C library."""
        name = self._name(number)
        address = addresses.get(name) or ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
        if not address:
            raise _OtherError
        return address
