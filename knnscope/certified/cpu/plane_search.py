"""Searches by the plane: by one thread in one call, or in parts that are put together."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from knnscope.certified.cpu import joint, lines, plane_direct, plane_ending, plane_parts, plane_ranking, plane_scan
from knnscope.certified.cpu.heaps import further, sink
from knnscope.certified.cpu.jit import compiled, specialised
from knnscope.certified.cpu.lines import HEAD
from knnscope.certified.cpu.plane_kernels import kernel
from knnscope.certified.cpu.plane_queries import asked as ask_plane
from knnscope.certified.cpu.plane_ranking import Kept
from knnscope.certified.cpu.plane_scan import PlanePart
from knnscope.certified.cpu.ranking import CHANGED, finish_heap

ask_lines = lines.asked
ONE = {"vnni": (2, 2), "avx2": (1, 1), "portable": (1, 1)}
"""Query vectors of a tile, and digits of a query, for one query by instruction set: VNNI waits for memory anyway."""
FEW, MANY = (4, 1), {"vnni": (10, 1), "avx2": (5, 1), "portable": (5, 1)}
"""The same for several, and for as many as registers have room for."""
NARROW = 1.1
"""What a product costs in tiles for few, of what it costs in those for many."""


def width(isa: str, queries: int) -> tuple[int, int]:
    """The tiles that so many queries cost least in: what is empty is multiplied all the same."""
    if queries == 1:
        return ONE[isa]
    few, many = (-(-queries // tile) * tile for tile in (FEW[0], MANY[isa][0]))
    return FEW if few * NARROW < many or queries <= FEW[0] else MANY[isa]


within: Any = None
scanned: Any = None
merged: Any = None
"""What ``forms`` gives ``_merge`` and ``_alone`` in place of these."""


def _merge(kept: Any, table: Any, near: Any, answers: Any) -> bool:
    """Put together what the parts found; whether that answers all queries: not those where what was found contradicts a bound.

    Args:
        kept: Kept.
        table: ranking.Table.
        near: the queries as lines are asked.
        answers: ranking.Answers, written.
    """
    parts, k, every = kept.keys.shape[0], kept.keys.shape[2], True
    for query in range(answers.ids.shape[0]):
        total, rest = 0, np.inf
        found, values = answers.ids[query], answers.values[query]
        found[:] = np.iinfo(np.int64).max
        values[:] = np.inf
        for part in range(parts):
            done = kept.computed[part, query]
            if done < 0:
                total = min(total, done)
                if done == CHANGED:
                    found[0] = kept.names[part, query, 0]
                continue
            total = total + done if total >= 0 else total
            rest = min(rest, kept.rests[part, query])
            for i in range(k):
                key, name = kept.keys[part, query, i], kept.names[part, query, i]
                if total >= 0 and further(values[0], found[0], key, name):
                    sink(values, found, k, key, name)
        if total == CHANGED:
            answers.computed[query] = CHANGED
        elif total >= 0 and not within(min(values[0], kept.bars[query]), query, kept, table, near):
            total = -1
        if total < 0:
            every = False
            continue  # its candidates stay -1
        finish_heap(found, values, min(k, total), table.metric)
        answers.candidates[query] = answers.computed[query] = total
        last = min(values[k - 1] if table.metric == 0 else -values[k - 1], kept.bars[query])
        if rest < np.inf and abs(last) < np.inf and total < table.rows.shape[0]:
            answers.margins[query] = max(
                0.0, np.sqrt(max(rest, 0.0)) - np.sqrt(last) if table.metric == 0 else rest - last
            )
        else:
            answers.margins[query] = np.inf
    return every


@compiled()
def new_kept(parts: int, queries: int, k: int, together: bool) -> Any:
    """Nothing known; ``together``: parts tell each other what they find."""
    keys, names = np.empty((parts, queries, k)), np.empty((parts, queries, k), dtype=np.int64)
    computed, rests = np.zeros((parts, queries), dtype=np.int64), np.full((parts, queries), np.inf)
    said = np.full((parts, queries, joint.distances(parts, k) if together else 0), np.inf)
    return Kept(keys, names, computed, rests, np.full(queries, np.inf), np.full(queries, np.inf), said)


def _alone(table: Any, levels: Any, width: Any, request: Any, memory: Any, answers: Any) -> bool:
    """A whole search by one thread, in one call: for few rows and queries what Python does in between counts. Whether it answers all.

    Args:
        table: ranking.Table.
        levels: blocks of plane.Plane, and its Map; lines (lines.py), and quantise.Mapping; or rows, and 0.
        width: query vectors of a tile, and digits of a query; blocks of the plane that pass before the next tile.
        request: scanner.Request.
        memory: see plane_scan.
        answers: ranking.Answers, written.
    """
    plane, way, near, mapping = levels
    asked = ask_plane(request.queries, way, width[0], width[1])
    kept = new_kept(1, asked.far.shape[0], request.k, False)
    for query in range(request.most.shape[0]):
        kept.bars[query] = request.most[query]
    part = PlanePart(0, plane.shape[0], 0, asked.words.shape[0], 0, width[2])
    both = (asked, ask_lines(request.queries, mapping, near.shape[1] - HEAD))
    scanned(table, (plane, near), both, request, part, memory, kept)
    return bool(merged(kept, table, both[1], answers))


merge = specialised(_merge, "plane_merge", apart=True, within=plane_ranking.within)
merge_direct = specialised(_merge, "plane_merge_direct", apart=True, within=plane_direct.within)


class Forms(NamedTuple):
    """Compiled for one instruction set: a pass over the plane, ``_merge``, ``_alone``, and the three steps of plane_parts.py."""

    scan: Any
    merge: Any
    alone: Any
    bounded: Any
    between: Any
    remaining: Any


@cache
def lowers(isa: str) -> Any:
    """``plane_scan._lowers`` for an instruction set."""
    kernels = {
        "lower_one": kernel(isa, *ONE[isa]),
        "lower_few": kernel(isa, *FEW),
        "lower_many": kernel(isa, *MANY[isa]),
    }
    return specialised(plane_scan._lowers, f"plane_lowers_{isa}", apart=True, **kernels)


@cache
def forms(isa: str) -> Forms:
    """What an instruction set has; compiled when it is first called."""
    evaluate = lines.evaluation(isa)
    near = lines.evaluation(isa, ahead=0)
    look = specialised(plane_scan._look, f"plane_look_{isa}", evaluate=evaluate)
    begun = specialised(plane_ending._begun, f"plane_begun_{isa}", apart=True, evaluate=evaluate)
    finish = specialised(plane_ending._finish, f"plane_finish_{isa}", begun=begun, evaluate=evaluate)
    one = specialised(plane_ending._one_ended, f"plane_ended_{isa}", apart=True, finish=finish)
    each = specialised(plane_ending._each_ended, f"plane_each_{isa}", one_ended=one)
    opened = specialised(plane_ending._opened, f"plane_opened_{isa}", apart=True, evaluate=evaluate)
    together = {"begun": begun, "evaluate_near": near, "each_ended": each}
    every = specialised(plane_ending._together_ended, f"plane_together_{isa}", apart=True, **together)
    return _forms(isa, "", (look, opened, plane_ranking.reached), (one, every, merge), ask_lines)


@cache
def direct_forms(isa: str) -> Forms:
    """The same where there are no lines, but the rows in place of them (plane_direct.py)."""
    one = specialised(plane_ending._one_ended, f"plane_ended_{isa}_direct", apart=True, finish=plane_direct.finish)
    every = specialised(plane_ending._each_ended, f"plane_each_{isa}_direct", apart=True, one_ended=one)
    begins = plane_direct.look, plane_direct.opened, plane_direct.reached
    return _forms(isa, "_direct", begins, (one, every, merge_direct), plane_direct.asked)


def _forms(isa: str, kind: str, begins: tuple[Any, Any, Any], ends: tuple[Any, Any, Any], asks: Any) -> Forms:
    """Of one kind of what stands beside the plane.

    Args:
        isa: instruction set.
        kind: its name.
        begins: how fresh rows are looked at, how a query begins whose bounds are all known, and what follows for V from a bound of its k-th distance.
        ends: how one query is answered, how several are, and how what parts found is put together.
        asks: how queries are written for it.
    """
    name, lowered, (look, opened, further), (ended, every, put) = f"{isa}{kind}", lowers(isa), begins, ends
    shared = specialised(plane_scan._shared, f"plane_shared_{name}", reached=further)
    given = {"lowers": lowered, "look": look, "opened": opened, "shared": shared, "ended": every}
    scan = specialised(plane_scan._scan, f"plane_scan_{name}", apart=True, **given)
    return Forms(
        scan,
        put,
        specialised(_alone, f"plane_alone_{name}", scanned=scan, merged=put, ask_lines=asks),
        specialised(plane_parts._bounded, f"plane_bounded_{name}", lowers=lowered),
        specialised(plane_parts._between, f"plane_between_{name}", look=look, ended=ended),
        specialised(plane_parts._remaining, f"plane_remaining_{name}", ended=ended),
    )
