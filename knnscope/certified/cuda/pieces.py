"""Codes that a GPU has no room for, in pieces: how large these are, and the order in which a search brings and scans them. Needs no GPU. Decision 056."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

PLACES, LEAST_PLACES = 32, 2
"""Places on a GPU that memory is divided into, and at least: one piece is scanned while the next one comes."""
AMPLE, FEW_PLACES = 1 << 26, 4
"""Bytes of a place beside which queueing a piece takes no time: where memory is little there are fewer places, down to so many."""
FEWEST = 256
"""Tiles of a piece at least, which is enough for a first threshold."""


@dataclass(frozen=True, slots=True)
class Room:
    """Places for pieces: bytes of each, and how many there are."""

    size: int
    places: int


def room_of(memory: int, tile_bytes: dict[str, int], tiles: int) -> Room:
    """Places for pieces in so much memory.

    Args:
        memory: bytes that they may take together; less than the least is not asked for.
        tile_bytes: bytes of a tile of rows, by kind of codes.
        tiles: of all rows.
    """
    largest = max(tile_bytes.values())
    size = max(FEWEST * largest, memory // PLACES, min(AMPLE, memory // FEW_PLACES))
    size = min(size, tiles * largest)
    wanted = sum(len(pieces_of(tiles, size // each)) for each in tile_bytes.values())
    return Room(size, min(wanted, max(LEAST_PLACES, memory // size)))


def pieces_of(tiles: int, most: int) -> tuple[tuple[int, int], ...]:
    """Tiles of rows in pieces of at most so many: first and last of each. All have as many but the last one, which has half as many at least."""
    for pieces in count(-(-tiles // most)):
        each = -(-tiles // pieces)
        starts = range(0, tiles, each)
        if 2 * (tiles - starts[-1]) >= each:
            return tuple((start, min(tiles, start + each)) for start in starts)
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Step:
    """A piece comes to a place, or is scanned there."""

    piece: int
    place: int
    comes: bool


class Places:
    """What lies in each place of a GPU."""

    def __init__(self, places: int) -> None:
        """Nothing yet."""
        self._held: list[tuple[str, int] | None] = [None] * places

    def steps(self, kind: str, pieces: int) -> Iterator[Step]:
        """Steps in which each piece of a kind of codes is scanned once.

        Those that are there are scanned first, so the last ones of a search are the first ones of the next. Others come as soon as a place is free for
        them: one of another kind, or whose piece has been scanned. A step is taken when the next one is asked for.
        """
        there = {held[1]: place for place, held in enumerate(self._held) if held is not None and held[0] == kind}
        ready = deque(there.items())
        missing = deque(piece for piece in range(pieces) if piece not in there)
        taken = set(there.values())
        free = deque(sorted((place for place in range(len(self._held)) if place not in taken), key=self._is_held))
        while ready or missing:
            while missing and free:
                piece, place = missing.popleft(), free.popleft()
                self._held[place] = None  # should the step fail
                yield Step(piece, place, True)
                self._held[place] = kind, piece
                ready.append((piece, place))
            piece, place = ready.popleft()
            yield Step(piece, place, False)
            free.append(place)

    def _is_held(self, place: int) -> bool:
        return self._held[place] is not None
