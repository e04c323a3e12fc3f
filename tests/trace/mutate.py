"""Seeded damage to a small trace: to its bytes, its pages, its schema and its values."""

from __future__ import annotations

import lzma
import random
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "traces" / "300-cupy-loop.sqlite.xz"
TABLES = (
    *("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS"),
    *("StringIds", "TARGET_INFO_GPU", "ENUM_CUDA_MEM_KIND", "ENUM_CUDA_MEMCPY_OPER"),
)
Values = tuple[object, ...]
EDGES: Values = (
    *(None, 0, 1, -1, 59, 60, 2**31, 2**32 + 7, 2**53 + 1, 2**61, 2**63 - 1, -(2**63)),
    *(
        0.5,
        -1e300,
        1e300,
        float("inf"),
        float("-inf"),
        "",
        "17",
        "text",
        "\x00\x1b[2J\n",
        "<script>",
        "'; DROP TABLE StringIds; --",
    ),
    *("é\U0001f600" * 40, b"", b"\xff\xfe\x00", "x" * 5000),
)


def _taken(base: sqlite3.Connection) -> bytes:
    """All of a database, which is closed."""
    data = base.serialize()
    base.close()
    return data


def small(rows: int = 100) -> bytes:
    """A real trace with the tables that are read, and at most some rows of each."""
    base = sqlite3.connect(":memory:")
    base.deserialize(lzma.decompress(FIXTURE.read_bytes()))
    for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name not in TABLES:
            base.execute(f'DROP TABLE "{name}"')
        elif name != "StringIds":
            base.execute(f'DELETE FROM "{name}" WHERE rowid NOT IN (SELECT rowid FROM "{name}" LIMIT {rows})')
    base.commit()
    base.execute("VACUUM")
    return _taken(base)


def statements(data: bytes, *lines: str, values: Values = ()) -> bytes:
    """The trace after some SQL, and after one more with values where there are any."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.deserialize(data)
        for line in lines[:-1] if values else lines:
            base.execute(line)
        if values:
            base.execute(lines[-1], values)
        base.commit()
        return base.serialize()


def schema(data: bytes, old: str, new: str) -> bytes:
    """The trace with another text in its schema, whatever SQLite thinks of it."""
    return statements(
        data, "PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(sql, ?, ?)", values=(old, new)
    )


def page_size(data: bytes) -> int:
    """Bytes of a page, or of what stands in for one."""
    found: int = struct.unpack(">H", data[16:18])[0] if len(data) > 18 else 0
    return found if found >= 512 else 4096


def _flip(chance: random.Random, data: bytes) -> bytes:
    mine = bytearray(data)
    low = chance.choice((0, 0, 16, 100))
    for _ in range(chance.choice((1, 2, 8, 64, 512))):
        mine[chance.randrange(low, len(mine))] ^= 1 << chance.randrange(8)
    return bytes(mine)


def _headers(chance: random.Random, data: bytes) -> bytes:
    """The bytes that say how pages are laid out: kind, count of cells, where cells and children are."""
    mine, size = bytearray(data), page_size(data)
    for _ in range(chance.choice((1, 1, 3, 9))):
        page = chance.randrange(max(1, len(mine) // size))
        at = page * size + (100 if page == 0 else 0) + chance.randrange(24)
        mine[min(at, len(mine) - 1)] = chance.choice((0, 1, 2, 5, 10, 13, 127, 128, 255, chance.randrange(256)))
    return bytes(mine)


def _overwrite(chance: random.Random, data: bytes) -> bytes:
    mine, size = bytearray(data), page_size(data)
    at = chance.randrange(max(1, len(mine) // size)) * size
    fill = chance.choice((b"\0" * size, b"\xff" * size, chance.randbytes(size)))
    start = at + (chance.choice((0, 8, 100)) if at else 100)
    mine[start : at + size] = fill[: at + size - start]
    return bytes(mine)


def _truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.choice((chance.randrange(len(data)), chance.randrange(200), len(data) // 2))]


def _splice(chance: random.Random, data: bytes) -> bytes:
    low, to, count = chance.randrange(len(data)), chance.randrange(100, len(data)), chance.randrange(1, 4096)
    piece = data[low : low + count]
    return data[:to] + piece + (data[to:] if chance.random() < 0.5 else data[to + len(piece) :])


def _swap(chance: random.Random, data: bytes) -> bytes:
    """Two pages in each other's place, or one in two places: a tree may then lead back into itself."""
    size = page_size(data)
    pages = [data[i : i + size] for i in range(0, len(data), size)]
    if len(pages) > 2:
        one, other = chance.randrange(1, len(pages)), chance.randrange(1, len(pages))
        pages[one], pages[other] = pages[other], pages[one if chance.random() < 0.5 else other]
    return b"".join(pages)


def _schema(chance: random.Random, data: bytes) -> bytes:
    swaps = (
        *(
            ("INTEGER", "TEXT"),
            ("INTEGER", "BLOB"),
            ("NOT NULL", ""),
            ("start ", "begin "),
            ("end ", "start "),
            ("CREATE TABLE", "CREATE VIEW"),
        ),
        *(
            (chance.choice(TABLES), chance.choice(TABLES)),
            ("globalPid", "'; --"),
            (");", ""),
            ("(", "(("),
            ("PRIMARY KEY", "UNIQUE"),
        ),
        *(
            ("bytes ", "bytes AS (start) "),
            ("TEXT", "TEXT DEFAULT (randomblob(9))"),
            ("id ", "value "),
            ("INTEGER", "\x00"),
            ("E", "\u00e9"),
        ),
    )
    return schema(data, *chance.choice(swaps))


def columns_of(data: bytes) -> list[tuple[str, str]]:
    """Tables and columns."""
    with closing(sqlite3.connect(":memory:")) as base:
        base.deserialize(data)
        tables = [n for (n,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        names = [name for name in tables if re.fullmatch(r"\w+", name)]
        return [(name, row[1]) for name in names for row in base.execute(f'PRAGMA table_info("{name}")')]


def _value(chance: random.Random) -> object:
    return chance.choice(
        (*EDGES, chance.randrange(-(2**63), 2**63), chance.uniform(-1e19, 1e19), chance.randbytes(chance.randrange(64)))
    )


def _update(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.choice((1, 3, 10))):
        table, column = chance.choice(columns_of(data))
        some = chance.choice(("1", f"rowid % {chance.randrange(2, 9)} = 0", f"rowid = {chance.randrange(1, 100)}"))
        data = statements(data, f'UPDATE OR IGNORE "{table}" SET "{column}" = ? WHERE {some}', values=(_value(chance),))
    return data


def untyped(data: bytes, table: str, *more: str, values: Values = ()) -> bytes:
    """The trace with a table whose columns have no type and no constraint: anything stays in them as it is. Then some SQL."""
    columns = ", ".join(f'+"{column}" AS "{column}"' for name, column in columns_of(data) if name == table)
    data = statements(
        data,
        f"CREATE TABLE bare AS SELECT {columns} FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE bare RENAME TO {table}",
    )
    return statements(data, *more, values=values)


def _untyped(chance: random.Random, data: bytes) -> bytes:
    return _update(chance, untyped(data, chance.choice(columns_of(data))[0]))


def _drop(chance: random.Random, data: bytes) -> bytes:
    table, column = chance.choice(columns_of(data))
    if chance.random() < 0.3:
        return statements(data, f"DROP TABLE {table}")
    return untyped(data, table, f'ALTER TABLE {table} DROP COLUMN "{column}"')


KINDS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _headers, _overwrite, _truncate, _splice, _swap, _schema, _update, _untyped, _drop),
)


def mutations(seed: int, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Endless mutations, one or two at a time, each with its description; the same for the same seed."""
    for number in range(2**31):
        chance = random.Random(f"{seed}/{number}")
        mine, names = data, []
        for kind in chance.choices(KINDS, k=chance.choice((1, 1, 2))):
            try:
                mine = kind(chance, mine) if mine else mine
                names.append(kind.__name__.strip("_"))
            except (
                sqlite3.Error,
                ValueError,
                IndexError,
                UnicodeError,
                MemoryError,
            ):  # the first left no database to change
                continue
        yield f"seed {seed}, number {number}: {', '.join(names)}", mine
