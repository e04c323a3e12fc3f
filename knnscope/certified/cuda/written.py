"""Where codes are written while they are made: on the GPU, or some rows at a time through a stage there into pinned host memory."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from knnscope.certified.cuda import host_rows
from knnscope.certified.cuda.staging import ANYWHERE
from knnscope.certified.cuda.streaming import CODES, PLANE, TILE, Line, Streaming

SIDE, RATIOS = 5 * TILE + 4, 3 * TILE
"""Numbers of a tile's sides, and those before N / s."""
PLANE_TILES = TILE // 16
"""Tiles of the plane in one of codes."""
SHARE = 2
"""Sides stay on the GPU where they take no more than one byte in so many of its memory: they are read for single rows as well."""


def plane_bytes(leading: int) -> int:
    """Of 16 rows of the plane."""
    return 8 * leading + 128


class OnGpu:
    """Codes, sides and plane of all rows, as ``Codes`` has them. streaming: how they come to the GPU; here they are there."""

    streaming: Streaming | None = None

    def __init__(self, count: int, width: int, leading: int) -> None:
        """Memory for them; padding is what no query keeps."""
        self._width = width
        tiles = -(-count // TILE)
        self.codes = cp.zeros(tiles * TILE * width, dtype=cp.uint8)
        self.sides = cp.zeros((tiles, SIDE), dtype=cp.float32)
        pad(self.sides, count)
        self._plane_bytes = plane_bytes(leading)
        self.plane = cp.zeros(-(-count // 16) * self._plane_bytes, dtype=cp.uint8) if leading else None

    def at(self, first: int, count: int) -> tuple[Any, Any, Any]:  # noqa: ARG002
        """Where codes, sides and plane of so many rows from a multiple of ``TILE`` on are written."""
        plane = None if self.plane is None else self.plane[first // 16 * self._plane_bytes :]
        return self.codes[first * self._width :], self.sides[first // TILE :], plane

    def keep(self, first: int, count: int) -> None:
        """They have been written there, as far as the current stream: where they belong."""


class InHost:
    """The same in host memory; sides on the GPU where they take little of it."""

    def __init__(self, shape: tuple[int, int, int], step: int, device: int, memory: int | None) -> None:
        """Memory for them, and a stage for so many rows.

        Args:
            shape: rows, width and leading of ``Codes``.
            step: rows that are written at once, at most: a multiple of ``TILE``.
            device: the number of the GPU.
            memory: bytes of it for codes; None for what is free.

        Raises:
            KnnscopeError: there is not so much memory of the host that the system pins.
        """
        count, width, leading = shape
        tiles, most, room = -(-count // TILE), step // TILE, host_rows.room(memory)
        self._code_bytes, self._plane_bytes = TILE * width, PLANE_TILES * plane_bytes(leading)
        self.codes = host_rows.empty((tiles * self._code_bytes,), cp.uint8, device)
        self.plane = host_rows.empty((tiles * self._plane_bytes,), cp.uint8, device) if leading else None
        self._sides_stay = 4 * SIDE * tiles * SHARE <= room
        here = (tiles, SIDE)
        self.sides = cp.zeros(here, cp.float32) if self._sides_stay else host_rows.empty(here, cp.float32, device)
        self._stage = OnGpu(most * TILE, width, leading)
        lines: dict[str, tuple[Line, ...]] = {CODES: (Line(self.codes, self._code_bytes),)}
        if not self._sides_stay:
            lines[CODES] += (Line(self.sides, 4 * SIDE),)
        if self.plane is not None:
            lines[PLANE] = (Line(self.plane, self._plane_bytes),)
        left = None if memory is None else memory - self.sides.nbytes * self._sides_stay
        self.streaming = Streaming(lines, tiles, left)

    def at(self, first: int, count: int) -> tuple[Any, Any, Any]:  # noqa: ARG002
        """Where codes, sides and plane of so many rows are written before they are kept; see ``OnGpu``."""
        if count % TILE:
            self._stage.codes.fill(0)
            pad(self._stage.sides, count)
        return self._stage.codes, self._stage.sides, self._stage.plane

    def keep(self, first: int, count: int) -> None:
        """Copy them to where they belong."""
        tile, tiles, stage = first // TILE, -(-count // TILE), self._stage
        _copy(self.codes, stage.codes, tile * self._code_bytes, tiles * self._code_bytes)
        _copy(self.sides, stage.sides, tile * 4 * SIDE, tiles * 4 * SIDE)
        if self.plane is not None:
            _copy(self.plane, stage.plane, tile * self._plane_bytes, tiles * self._plane_bytes)


Written = OnGpu | InHost


def pad(sides: Any, count: int) -> None:
    """Sides of rows beyond so many, in their tile: no query keeps them."""
    tile, row = divmod(count, TILE)
    if row:
        sides[tile].fill(0)
        sides[tile, 2 * row + 1 : 2 * TILE : 2] = cp.inf
        lines = np.arange(row, TILE)
        places = (
            RATIOS + lines // 16 * 16 + lines // 2 % 4 * 4 + lines // 8 % 2 * 2 + lines % 2
        )  # ratio_at of batch.cuh
        sides[tile, places], sides[tile, TILE + places] = 3e38, 1


def _copy(to: Any, stage: Any, past: int, size: int) -> None:
    """Bytes from the beginning of a stage to a place in an array, wherever this lies, in the order of the current stream."""
    stream = cp.cuda.get_current_stream().ptr
    cp.cuda.runtime.memcpyAsync(to.data.ptr + past, stage.data.ptr, size, ANYWHERE, stream)
