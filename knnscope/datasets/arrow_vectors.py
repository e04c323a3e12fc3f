"""Vectors in a list column of a Parquet or Arrow table, in one file or in the parts of one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.datasets import arrow
from knnscope.datasets.array_checks import MAX_DIM, checked, memory_limit
from knnscope.errors import KnnscopeError, require
from knnscope.records import VectorDataset


def columns(path: Path) -> tuple[list[str], list[str]]:
    """The columns that hold lists of numbers, and the others.

    Raises:
        KnnscopeError: no such table.
    """
    with arrow.opened(path) as table:
        lists = [f.name for f in table.schema if _is_list(f.type)]
        return lists, [f.name for f in table.schema if not _is_list(f.type)]


def load(path: Path, column: str) -> VectorDataset:
    """One file."""
    return load_parts(str(path), [path], column)


def load_parts(name: str, paths: Sequence[Path], column: str) -> VectorDataset:
    """The parts of one table, one after the other.

    Args:
        name: of the data set; ``name#column`` names a column.
        paths: the parts, in order.
        column: which, of several list columns; empty takes the only one.

    Raises:
        KnnscopeError: no such column, rows of different lengths, missing numbers, damaged, or too large.
    """
    blocks: list[npt.NDArray[Any]] = []
    for path in paths:
        with arrow.opened(path) as table:
            lists = [f.name for f in table.schema if _is_list(f.type)]
            if column and column not in lists:
                raise KnnscopeError(f"{path}: no list column {column!r}; there is {', '.join(lists) or 'none'}")
            if not column and len(lists) != 1:
                raise KnnscopeError(
                    f"{path}: {len(lists)} list columns ({', '.join(lists)}): name one as {name}#COLUMN"
                )
            column = column or lists[0]
            if table.metadata is not None:
                _check_column(path, table.metadata, column)
            for block in _blocks(path, table.batches([column]), column):
                if blocks and block.shape[1] != blocks[0].shape[1]:
                    raise KnnscopeError(
                        f"{path}: its rows have {block.shape[1]} components, those before them {blocks[0].shape[1]}"
                    )
                blocks.append(block)
    if not blocks:
        raise KnnscopeError(f"{name}: zero rows, nothing to search")
    if len({block.dtype for block in blocks}) > 1:
        raise KnnscopeError(f"{name}: its parts have {' and '.join(sorted({b.dtype.name for b in blocks}))} components")
    memory_limit(Path(name), sum(b.nbytes for b in blocks), sum(b.nbytes for b in blocks))
    return VectorDataset(name, checked(Path(name), np.concatenate(blocks)))


def _check_column(path: Path, metadata: Any, name: str) -> None:
    """Before anything is decoded: a list column is bounded by the counts of its row groups."""
    chunks = [
        chunk
        for group in (metadata.row_group(i) for i in range(metadata.num_row_groups))
        for chunk in (group.column(c) for c in range(metadata.num_columns))
        if chunk.path_in_schema.split(".")[0] == name
    ]
    values = sum(chunk.num_values for chunk in chunks)
    if values > MAX_DIM * max(metadata.num_rows, 1):
        raise KnnscopeError(
            f"{path}: {values:,} numbers in {metadata.num_rows:,} rows: more than the limit of {MAX_DIM:,} components a row"
        )
    memory_limit(path, 16 * values, sum(chunk.total_compressed_size for chunk in chunks) * 16)


def _is_list(dtype: Any) -> bool:
    types = require("pyarrow", "files").types
    dtype = getattr(dtype, "storage_type", dtype)  # fixed_shape_tensor and other extensions
    nested = (
        types.is_list(dtype)
        or types.is_large_list(dtype)
        or types.is_fixed_size_list(dtype)
        or types.is_list_view(dtype)
        or types.is_large_list_view(dtype)
    )
    return bool(nested and (types.is_floating(dtype.value_type) or types.is_integer(dtype.value_type)))


def _blocks(path: Path, batches: Iterator[Any], name: str) -> Iterator[npt.NDArray[Any]]:
    dim, start, total = None, 0, 0
    stored = path.stat().st_size
    for batch in batches:
        array = batch.column(0)
        array = getattr(array, "storage", array)
        if not len(array):
            continue
        if array.null_count:
            raise KnnscopeError(
                f"{path}: column {name!r} has an empty cell in rows {start:,} to {start + len(array):,}"
            )
        if hasattr(array.type, "list_size"):
            width = int(array.type.list_size)
        else:
            widths = np.asarray(array.value_lengths())
            width = int(widths[0])
            if (wrong := np.flatnonzero(widths != (dim or width))).size:
                raise KnnscopeError(
                    f"{path}: row {start + wrong[0]:,} has {widths[wrong[0]]} components, the first row {dim or width}"
                )
        if dim is not None and width != dim:
            raise KnnscopeError(f"{path}: row {start:,} has {width} components, the first row {dim}")
        dim = width
        total += len(array) * width * 8
        memory_limit(path, total, stored)  # lists may overlap in what is stored
        flat = array.flatten()
        if flat.null_count:
            raise KnnscopeError(
                f"{path}: column {name!r} has a missing number in rows {start:,} to {start + len(array):,}"
            )
        yield flat.to_numpy(zero_copy_only=False).reshape(len(array), width)
        start += len(array)
