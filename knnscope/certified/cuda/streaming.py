"""Codes that lie in host memory, pinned, and come to a GPU in pieces while those before them are scanned. Decision 056."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cupy as cp

from knnscope.certified.cuda import host_rows
from knnscope.certified.cuda.pieces import LEAST_PLACES, Places, Room, pieces_of, room_of
from knnscope.certified.cuda.staging import ANYWHERE
from knnscope.certified.cuda.streams import Readers
from knnscope.units import size as size_text

TILE = 128
"""Rows of a tile."""
CODES, PLANE = "codes", "plane"
"""Kinds: what many queries scan, and few."""


@dataclass(frozen=True, slots=True)
class Line:
    """An array of the GPU over pinned host memory, which is brought; and its bytes of a tile of rows."""

    array: Any
    tile_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Tiles of rows from one up to another, and where on the GPU each line of their kind begins."""

    first: int
    last: int
    at: tuple[int, ...]


class _Place:
    """Memory of a piece. came: once a piece is there. left: once it has been scanned."""

    def __init__(self, size: int) -> None:
        self.memory = cp.cuda.alloc(size)
        self.came, self.left = (cp.cuda.Event(disable_timing=True) for _ in range(2))
        self.left.record(cp.cuda.get_current_stream())  # what had this memory before is over then


class Streaming:
    """Places on a GPU, and the stream on which pieces come; one search at a time queues its trips. brought: bytes that have come, or are on their way."""

    def __init__(self, lines: dict[str, tuple[Line, ...]], tiles: int, memory: int | None) -> None:
        """Take no memory yet: the first search does.

        Args:
            lines: what is brought, by kind.
            tiles: of all rows.
            memory: bytes of the GPU that pieces may take; None for what is free when they are first needed.
        """
        self._lines, self._tiles, self._memory = lines, tiles, memory
        self.brought = 0
        self._stream: Any = None
        self._room: Room | None = None
        self._places = list[_Place]()
        self._order = Places(0)

    def least(self, kind: str) -> int:
        """Tiles of every piece, at least."""
        first, last = self._pieces(kind)[-1]
        return last - first

    def count(self, kind: str) -> int:
        """How many pieces there are."""
        return len(self._pieces(kind))

    @property
    def nbytes(self) -> int:
        """Bytes of places on the GPU, once they are there."""
        return self._room.size * len(self._places) if self._room else 0

    @property
    def told(self) -> str:
        """Where codes lie, in words."""
        room = self._room or self._planned()
        most = size_text(room.size * (len(self._places) or room.places))
        return f"codes in host memory, {most} of them at once on the GPU"

    def trip(self, kind: str) -> Iterator[Piece]:
        """Each piece of a kind once, when the current stream comes to it: what is queued there before the next one is asked for scans it."""
        pieces, stream = self._pieces(kind), cp.cuda.get_current_stream()
        self._readers.add(stream)
        for step in self._order.steps(kind, len(pieces)):
            place, (first, last) = self._places[step.place], pieces[step.piece]
            if step.comes:
                self._bring(place, kind, first, last)
                continue
            stream.wait_event(place.came)
            stream.wait_event(place.left)  # of another stream: who takes the place next waits for the last one only
            at, given = place.memory.ptr, list[int]()
            for line in self._lines[kind]:
                given.append(at)
                at += (last - first) * line.tile_bytes
            try:
                yield Piece(first, last, tuple(given))
            finally:
                place.left.record(stream)

    def _bring(self, place: _Place, kind: str, first: int, last: int) -> None:
        """Queue the copies of some tiles, behind whoever scans what is there."""
        self._stream.wait_event(place.left)
        at = place.memory.ptr
        for line in self._lines[kind]:
            size = (last - first) * line.tile_bytes
            start = line.array.data.ptr + first * line.tile_bytes
            cp.cuda.runtime.memcpyAsync(at, start, size, ANYWHERE, self._stream.ptr)
            at += size
            self.brought += size
        place.came.record(self._stream)

    def _pieces(self, kind: str) -> tuple[tuple[int, int], ...]:
        if self._room is None:
            self._take()
        assert self._room is not None
        return pieces_of(self._tiles, self._room.size // self._tile_bytes()[kind])

    def _tile_bytes(self) -> dict[str, int]:
        return {kind: sum(line.tile_bytes for line in lines) for kind, lines in self._lines.items()}

    def _planned(self) -> Room:
        memory = host_rows.room(None) if self._memory is None else self._memory
        return room_of(memory, self._tile_bytes(), self._tiles)

    def _take(self) -> None:
        """Take as many places as there is memory for.

        Raises:
            cupy.cuda.memory.OutOfMemoryError: not even for the fewest.
        """
        room, places = self._planned(), list[_Place]()
        for _ in range(room.places):
            try:
                places.append(_Place(room.size))
            except cp.cuda.memory.OutOfMemoryError:
                if len(places) < LEAST_PLACES:
                    raise
                break
        self._stream = cp.cuda.Stream(non_blocking=True)
        self._places, self._order, self._room = places, Places(len(places)), room
        self._readers = Readers(self)
        self._readers.add(self._stream)
