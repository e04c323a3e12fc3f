"""One file of named arrays that can be mapped: a head that says where each lies and what its bytes sum to, then the arrays.

    0   "knnscope"                        8 bytes
    8   version, length of the head       uint32 each, little-endian as all that follows
    16  CRC-32 of the head                uint32
    64  the head: JSON, padded with spaces
    ..  arrays in C order, each from a multiple of 4096 on, and followed by 4096 bytes of zeros at least

The zeros are for kernels that ask for, or load, some bytes beyond an array. The head has a CRC-32 of each 16 MiB of an array, so that several
threads can sum them, and so that opening a file need not read it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope import threads as budgets
from knnscope.certified.saved.files import BEGINS, WRITE_BYTES, damaged, open_plain, read_at
from knnscope.errors import KnnscopeError
from knnscope.store import os_problem, sync_folder, whole_file

MAGIC, VERSION = BEGINS["segment"], 1
FRONT = struct.Struct("<8sIII")
HEAD_AT, PAGE = 64, 4096
MOST_HEAD = 1 << 24
"""Bytes of a head; that of 1 TB of arrays has 600 KB."""
BEYOND = 4096
"""Zeros after each array."""
MOST_ITEMS = 1 << 48
"""Numbers of an array, also where one of its dimensions is 0: NumPy refuses larger shapes."""
DTYPES = {"<f8", "<f4", "<f2", "|i1", "|u1", "<i2", "<i4", "<i8"}
SMALL = 1 << 16
"""Bytes of an array up to which it is summed whenever its file is opened."""
ALONE = 1 << 20
"""Bytes that are summed in less time than threads take to start."""


Names = Callable[[dict[str, Any]], Collection[str]]


class Place(NamedTuple):
    """Where an array lies, and its sums, eight hexadecimal digits for each ``WRITE_BYTES``."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    sums: str

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Sections(NamedTuple):
    """What a file holds. arrays: read-only where they are mapped. mark: CRC-32 of the head, by which others name this file."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    places: dict[str, Place]
    mark: int


def write(path: Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    """Write a file, whole or not at all, on disk when this returns. Returns its ``mark``.

    Raises:
        KnnscopeError: the disk is full, or the folder cannot be written.
    """
    places, end = dict[str, Place](), 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<").str
        assert dtype in DTYPES, dtype
        place = Place(dtype, array.shape, end, "0" * (8 * -(-array.nbytes // WRITE_BYTES)))
        places[name] = place
        end = _next(end + place.nbytes)
    start = _up(HEAD_AT + len(_head(kind, meta, _moved(places, 1 << 50), 1 << 51)))
    places = _moved(places, start)
    with whole_file(path) as file, ThreadPoolExecutor(1) as pool:
        for name, array in arrays.items():
            file.seek(places[name].offset)
            summed = []
            for piece in _pieces(array):
                summed.append(pool.submit(zlib.crc32, piece))
                file.write(piece)
            places[name] = places[name]._replace(sums="".join(f"{one.result():08x}" for one in summed))
        file.truncate(start + end)
        head = _head(kind, meta, places, start + end).ljust(start - HEAD_AT)
        mark = zlib.crc32(head)
        file.seek(0)
        file.write(FRONT.pack(MAGIC, VERSION, len(head), mark).ljust(HEAD_AT, b"\0") + head)
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise os_problem(error, path) from error
    return mark


def read(path: Path, kind: str, mapped: bool = True, names: Names | None = None) -> Sections:
    """What a file holds; small arrays are summed, and all of them where they are not mapped.

    Args:
        path: of the file.
        kind: what it has to be.
        mapped: arrays are mapped, not read.
        names: by meta the names of arrays, where they are there; others are left alone. Default: all.

    Raises:
        KnnscopeError: it is not there, of another version, or not as it was written.
    """
    handle = open_plain(path)
    try:
        with os.fdopen(handle, "rb", buffering=0) as file:
            size = os.fstat(handle).st_size
            head, mark = _read_head(path, handle, size)
            meta, places = _checked(path, head, kind, size)
            if names is not None:
                asked = names(meta)
                places = {name: place for name, place in places.items() if name in asked}
            arrays = _mapped(file, places) if mapped else _loaded(path, handle, places)
    except OSError as error:
        raise os_problem(error, path) from error
    found = Sections(path, meta, arrays, places, mark)
    check(found, {name for name, place in places.items() if not mapped or place.nbytes <= SMALL})
    return found


def check(found: Sections, names: set[str] | None = None) -> None:
    """Sum arrays, all by default.

    Raises:
        KnnscopeError: one is not as it was written; says which.
    """
    work = [
        (name, piece, place.sums[8 * number : 8 * number + 8])
        for name, place in found.places.items()
        if names is None or name in names
        for number, piece in enumerate(_pieces(found.arrays[name]))
    ]
    with ThreadPoolExecutor(max(1, budgets.budget())) as pool:
        sums = map if len(work) < 2 or sum(len(piece) for _, piece, _ in work) <= ALONE else pool.map
        for (name, _, expected), summed in zip(work, sums(zlib.crc32, [piece for _, piece, _ in work]), strict=True):
            if f"{summed:08x}" != expected:
                raise damaged(found.path, f"the checksum of {name!r} is wrong")


def aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy that begins with a cache line and has ``BEYOND`` bytes behind it, as mapped ones do."""
    made = _room(array.dtype, array.shape)
    made[...] = array
    return made


def _room(dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + PAGE + BEYOND, dtype=np.uint8)
    start = -raw.ctypes.data % PAGE
    raw[start + size :] = 0
    return raw[start : start + size].view(dtype).reshape(shape)


def _up(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _next(end: int) -> int:
    return _up(end + BEYOND)


def _moved(places: Mapping[str, Place], by: int) -> dict[str, Place]:
    return {name: place._replace(offset=place.offset + by) for name, place in places.items()}


def _head(kind: str, meta: Mapping[str, Any], places: Mapping[str, Place], size: int) -> bytes:
    listed = {name: [place.dtype, list(place.shape), place.offset, place.sums] for name, place in places.items()}
    told = {"kind": kind, "size": size, "meta": meta, "arrays": listed}
    return json.dumps(told, allow_nan=False, ensure_ascii=True).encode()


def _pieces(array: npt.NDArray[Any]) -> Iterator[memoryview]:
    """The array's bytes in C order, ``WRITE_BYTES`` at a time."""
    if not array.size:
        return
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    flat = array.reshape(-1).view(np.uint8).data
    for first in range(0, len(flat), WRITE_BYTES):
        yield flat[first : first + WRITE_BYTES]


def _read_head(path: Path, handle: int, size: int) -> tuple[bytes, int]:
    front = read_at(handle, FRONT.size, 0)
    if len(front) < FRONT.size or front[:8] != MAGIC:
        raise damaged(path, "it does not begin as files of an index do")
    _, version, length, mark = FRONT.unpack(front)
    if version != VERSION:
        raise KnnscopeError(
            f"{path}: format {version}, this knnscope reads {VERSION}: use the version that wrote it, or save the index again"
        )
    if length > MOST_HEAD or HEAD_AT + length > size:
        raise damaged(path, "it ends within its head")
    head = read_at(handle, length, HEAD_AT)
    if zlib.crc32(head) != mark:
        raise damaged(path, "the checksum of its head is wrong")
    return head, mark


def _checked(path: Path, head: bytes, kind: str, size: int) -> tuple[dict[str, Any], dict[str, Place]]:
    """Meta and places: a head of the right sum may still come from anyone.

    Raises:
        KnnscopeError: it is not what ``write`` writes.
    """
    try:
        told = json.loads(head)
        if told["kind"] != kind:
            raise damaged(path, f"it is no {kind}")
        if told["size"] != size:
            raise damaged(path, f"it has {size:,} bytes, and was written with another size")
        meta, places = told["meta"], dict[str, Place]()
        if not isinstance(meta, dict):
            raise ValueError("no meta")
        for name, (dtype, shape, offset, sums) in told["arrays"].items():
            if dtype not in DTYPES or type(shape) is not list or type(sums) is not str:
                raise ValueError(f"the type of {name!r}")
            if len(shape) > 4 or any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"the shape of {name!r}")
            if math.prod(max(n, 1) for n in shape) >= MOST_ITEMS:
                raise ValueError(f"the shape of {name!r}")
            place = Place(dtype, tuple(shape), offset, sums)
            if type(offset) is not int or offset % PAGE or offset < HEAD_AT + len(head):
                raise ValueError(f"the place of {name!r}")
            if offset + place.nbytes + BEYOND > size or len(sums) != 8 * -(-place.nbytes // WRITE_BYTES):
                raise ValueError(f"the size of {name!r}")
            places[name] = place
        _check_apart(places)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise damaged(path, f"its head does not hold together ({str(error)[:80]})") from error
    return meta, places


def _check_apart(places: Mapping[str, Place]) -> None:
    """Raises ValueError where arrays overlap: a small file would take any memory."""
    last, end = "", 0
    for name, place in sorted(places.items(), key=lambda one: one[1].offset):
        if place.offset < end:
            raise ValueError(f"{last[:20]!r} and {name[:20]!r} overlap")
        last, end = name, place.offset + place.nbytes + BEYOND


def _mapped(file: IO[bytes], places: Mapping[str, Place]) -> dict[str, npt.NDArray[Any]]:
    """Arrays over the file, read-only."""
    whole = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
    return {
        name: whole[place.offset : place.offset + place.nbytes].view(place.dtype).reshape(place.shape)
        for name, place in places.items()
    }


def _loaded(path: Path, handle: int, places: Mapping[str, Place]) -> dict[str, npt.NDArray[Any]]:
    """Arrays in memory, read-only."""
    found = {}
    for name, place in places.items():
        made = _room(place.dtype, place.shape)
        if made.size:
            into, at = made.reshape(-1).view(np.uint8).data, place.offset
            while len(into):
                done = os.preadv(handle, [into[: 1 << 28]], at)
                if not done:
                    raise damaged(path, "it ended while it was read")
                into, at = into[done:], at + done
        made.flags.writeable = False
        found[name] = made
    return found
