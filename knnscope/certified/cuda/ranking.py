"""How blocks rank what products leave (kernels/exact_rank.cu): their threads and their room. Nothing here needs a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from knnscope.kernels.sources import MOST_FEW

CHUNK, AT_ONCE = 128, 16
"""As the kernel has them."""
MOST, SHORT = 1024, 256
"""Candidates that a block has room for, and a small one."""
SHORT_K = 32
"""Neighbors up to which that is enough but for one query in many, and up to which small blocks are faster."""
HELD = {True: 1024, False: 2048}
"""Hits that a small block has room for, with two bounds of each where codes are whole, else one: eight blocks share a multiprocessor."""
HELD_LONG = 4096
"""Hits that a large block has room for where queries are many: three or four share a multiprocessor."""
SEVERAL = 4
"""Queries of a multiprocessor from which on blocks have 128 threads."""
LONG_THREADS = 256
"""Of a block that ranks what small ones have no room for."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A launch. number: 0 the only one, 1 the first of two, 2 the second, for queries that had no room in the first.

    blocks, threads, shared: blocks, threads of one, bytes of its shared memory. held, most: hits and candidates that it has room for.
    """

    number: int
    blocks: int
    threads: int
    shared: int
    held: int
    most: int


def threads_of(count: int, processors: int) -> int:
    """Threads of a block that makes a query's first threshold: as many as let blocks of all queries run at once."""
    several = -(-count // processors)
    return next((threads for most, threads in ((1, 1024), (2, 512), (SEVERAL, 256)) if several <= most), 128)


def bytes_of(held: int, most: int = MOST, is_whole: bool = True) -> int:
    """Shared memory of a block. is_whole: whether codes bound distances from above as well (WHOLE of the kernel)."""
    return 20 * most + max((8 if is_whole else 4) * held, 8 * AT_ONCE * (CHUNK + 1)) + 2 * held


OWN = 1024
"""Bytes of shared memory that a kernel has beside, at most."""
MOST_K = 512
"""Neighbors up to which lists of hits have room."""
ROOMY = 4096
"""Queries up to which lists are twice as long; those of few queries are four times as long."""
FEW_NEIGHBORS = 16
"""Neighbors above which all lists are four times as long: isotropic rows leave 40 hits a neighbor, and of one query in a thousand 80."""
ROOMIER, TIMES = 1 << 24, 4
"""Rows from which lists are so many times as long, as far as a block has room: as many rows more are about as near as each other."""


def usable(k: int, shared: int) -> bool:
    """Whether blocks with so many bytes of shared memory can rank so many neighbors."""
    return k <= MOST_K and bytes_of(room_of(k, ROOMY + 1, 0, shared)) + OWN <= shared


def room_of(k: int, count: int, rows: int, shared: int) -> int:
    """Hits that a query's list has room for: more where few queries ask, since one that overflows costs as much as hundreds; and where rows are many."""
    room = max(2048, 16 * k)
    wanted = 4 if count <= MOST_FEW or k > FEW_NEIGHBORS else 2 if count <= ROOMY else 1
    wanted *= TIMES if rows >= ROOMIER else 1
    while wanted > 1 and bytes_of(2 * room) + OWN <= shared:
        room, wanted = 2 * room, wanted // 2
    return room


def held_of(count: int, room: int, processors: int) -> int:
    """Hits of such lists that a large block has room for."""
    return room if -(-count // processors) <= SEVERAL else min(room, HELD_LONG)


def turns(count: int, k: int, room: int, is_whole: bool, processors: int) -> tuple[Turn, ...]:
    """Launches for so many queries, whose lists have room for so many hits.

    Small blocks for many queries: twice as many run at once. What they have no room for, large ones rank afterwards.
    """
    several = -(-count // processors)
    last = Turn(2, min(count, 4 * processors), LONG_THREADS, bytes_of(room, MOST, is_whole), room, MOST)
    if several > SEVERAL and k <= SHORT_K:
        held = min(room, HELD[is_whole])
        return Turn(1, count, 128, bytes_of(held, SHORT, is_whole), held, SHORT), last
    threads, held = max(LONG_THREADS, threads_of(count, processors)), held_of(count, room, processors)
    first = Turn(int(held < room), count, threads, bytes_of(held, MOST, is_whole), held, MOST)
    return (first, last) if first.number else (first,)
