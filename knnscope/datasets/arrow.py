"""Tables of Apache Arrow: Parquet files, IPC files (Feather) and IPC streams, batch by batch, checked before they are looked into."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knnscope import environment
from knnscope.datasets import address_space, probe
from knnscope.datasets.array_checks import MAX_GROWTH
from knnscope.errors import KnnscopeError, require

BATCH = 1 << 14
FEW = 1 << 8
"""Rows with strings that may be far longer than what is stored of them: who adds them up looks after so many."""
SLACK = 1 << 32
"""Bytes of address space that allocators take beyond what is asked of them."""
DELTAS = {"DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}
"""Encodings of strings in Parquet files. A few bytes of them may be gigabytes of strings."""
FORMATS = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".arrows": "Arrow", ".ipc": "Arrow"}


@dataclass(frozen=True, slots=True)
class Table:
    """An open file: its columns, and its Parquet footer where it has one."""

    path: Path
    schema: Any
    metadata: Any
    _file: Any

    def batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Record batches of these columns, in their order here.

        Raises:
            pyarrow.ArrowException: damaged.
        """
        if self.metadata is not None:
            bounded = any(_is_text(self.schema.field(name).type) for name in names)
            # threads would want address space of their own
            found = self._file.iter_batches(
                columns=list(names), batch_size=FEW if bounded else BATCH, use_threads=not bounded
            )
            while True:
                with _bounded(self.path) if bounded else contextlib.nullcontext():
                    batch = next(found, None)
                if batch is None:
                    return
                yield batch
        count = getattr(self._file, "num_record_batches", None)
        number = 0
        while count is None or number < count:
            with _bounded(self.path):
                try:
                    batch = self._file.read_next_batch() if count is None else self._file.get_batch(number)
                except StopIteration:
                    return
            chosen = batch.select(list(names))
            chosen.validate(full=True)  # offsets may point anywhere
            yield chosen
            number += 1


def _bounded(path: Path) -> contextlib.AbstractContextManager[None]:
    """Hold what is allocated inside to what a file of this size may unpack to: a compressed buffer claims any size."""
    most = MAX_GROWTH * path.stat().st_size
    return address_space.grows_by(min(environment.memory()["available"] or most, most) + SLACK)


def touch(path: Path) -> None:
    """What may crash in a damaged Parquet file, for ``probe.look``: pyarrow calls C++ that throws as if it did not."""
    with contextlib.ExitStack() as stack:
        metadata = _parquet(stack, path).metadata
        for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
            for column in (group.column(i) for i in range(group.num_columns)):
                _ = column.path_in_schema, column.num_values, column.total_compressed_size


def _parquet(stack: contextlib.ExitStack, path: Path) -> Any:
    pyarrow, parquet = require("pyarrow", "files"), require("pyarrow.parquet", "files")
    file = stack.enter_context(parquet.ParquetFile(path, memory_map=True))
    strings = [f.name for f in file.schema_arrow if pyarrow.types.is_string(f.type)]
    strings = sorted(set(strings) - _in_deltas(file.metadata))
    if strings:  # a short dictionary stays one, however often its entries are repeated
        file = stack.enter_context(parquet.ParquetFile(path, memory_map=True, read_dictionary=strings))
    return file


def _in_deltas(metadata: Any) -> set[str]:
    """Columns with strings that are written as differences to the ones before, which pyarrow does not read as a dictionary."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    return {column.path_in_schema for column in columns if DELTAS & set(column.encodings)}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Table]:
    """Open a table; what pyarrow says against it, inside too, becomes one line.

    Raises:
        KnnscopeError: no such table, damaged, or too large for memory.
    """
    pyarrow = require("pyarrow", "files")
    what = FORMATS[path.suffix.lower()]
    if what == "Parquet":
        probe.look("arrow:touch", path, what)
    try:
        with contextlib.ExitStack() as stack:
            if what == "Parquet":
                file = _parquet(stack, path)
                yield Table(path, file.schema_arrow, file.metadata, file)
            else:
                source = stack.enter_context(pyarrow.memory_map(str(path)))
                is_file = source.read(6) == b"ARROW1"
                source.seek(0)
                alone = pyarrow.ipc.IpcReadOptions(use_threads=False)  # threads would want address space of their own
                reader = (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(source, options=alone)
                stack.enter_context(reader)
                yield Table(path, reader.schema, None, reader)
    except (pyarrow.ArrowException, OSError, ValueError, IndexError, KeyError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise KnnscopeError(f"{path}: no {what} file, or a damaged one ({reason})") from error


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the columns that hold strings or numbers.

    Raises:
        KnnscopeError: damaged, or it unpacks to far more than it stores.
    """
    limit = MAX_GROWTH * path.stat().st_size + (1 << 20)
    total = 0
    with opened(path) as table:
        names = [f.name for f in table.schema if _is_plain(f.type)]
        if len(set(names)) < len(names):
            raise KnnscopeError(f"{path}: two columns have one name: {', '.join(names)}")
        for batch in table.batches(names):
            columns = [batch.column(i) for i in range(batch.num_columns)]
            for number in range(batch.num_rows):
                row = {name: column[number].as_py() for name, column in zip(names, columns, strict=True)}
                total += sum(len(value) for value in row.values() if isinstance(value, str))
                if total > limit:
                    raise KnnscopeError(f"{path}: unpacks to over {MAX_GROWTH:,} times its size: not a table of texts")
                yield row


def _is_plain(dtype: Any) -> bool:
    types = require("pyarrow", "files").types
    if types.is_dictionary(dtype):
        dtype = dtype.value_type
    return bool(_is_text(dtype) or types.is_integer(dtype) or types.is_floating(dtype) or types.is_null(dtype))


def _is_text(dtype: Any) -> bool:
    types = require("pyarrow", "files").types
    return bool(types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype))
