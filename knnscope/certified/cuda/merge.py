"""Answers over different rows, merged where they lie, on a GPU: in the definition's order, value, then id."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import cupy as cp

from knnscope.certified.cuda.launch import INT, LONG, kernel
from knnscope.certified.state import joined_certificate
from knnscope.kernels import sources
from knnscope.records import Certificate
from knnscope.search import definition

LISTS = 32
"""Answers that are merged at once: as in exact_merge.cu."""
THREADS, BLOCKS = 256, 1 << 14


class _Ends(ctypes.Structure):
    _fields_ = (("at", ctypes.c_int64 * (LISTS + 1)),)


def reading(reads: Sequence[Callable[[], Certificate]]) -> Callable[[], Certificate]:
    """What reads one certificate of several."""
    return lambda: joined_certificate([read() for read in reads])


def merge_there(
    answers: Sequence[tuple[Any, Any]], k: int, metric: str, out: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """The k best of answers over different rows, queued on the current stream.

    Args:
        answers: ids, int64, and values, float64, (queries, columns) each, sorted; -1 and infinite for no row, last.
        k: at most as many as they have columns together.
        metric: l2, ip or cosine.
        out: where to write, (queries, k); None for new arrays.
    """
    while len(answers) > LISTS:
        some = answers[:LISTS]
        most = min(k, sum(ids.shape[1] for ids, _ in some))
        answers = [merge_there(some, most, metric, None), *answers[LISTS:]]
    ids, values = (cp.concatenate([one[which] for one in answers], axis=1) for which in (0, 1))
    return merge_beside((ids, values), [one.shape[1] for one, _ in answers], k, metric, out)


def merge_beside(
    answers: tuple[Any, Any], columns: Sequence[int], k: int, metric: str, out: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """The same of answers that lie beside each other in one array; columns: of each, at most ``LISTS``."""
    ids, values = answers
    count = len(ids)
    made = out or (cp.empty((count, k), dtype=cp.int64), cp.empty((count, k), dtype=cp.float64))
    if count:
        ends = _Ends((ctypes.c_int64 * (LISTS + 1))(*accumulate(columns, initial=0)))
        source = sources.exact("merge", (("CELL", 0), ("METRIC", definition.METRICS.index(metric))))
        grid = min(BLOCKS, -(-ids.size // THREADS))
        kernel(source, "merge_answers", ids.device.id)(
            (grid,), THREADS, ids, values, LONG(count), LONG(ids.shape[1]), ends, INT(len(columns)), LONG(k), *made
        )
    return made
