"""Types of memory by the numbers that a trace gives them: CUPTI's are one higher than those of Nsight Systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from knnscope.trace.database import Tables
from knnscope.trace.model import ARRAY, DEVICE, MANAGED, PAGEABLE, PINNED, UNKNOWN

NAMES = {
    "pageable": PAGEABLE,
    "pinned": PINNED,
    "device": DEVICE,
    "array": ARRAY,
    "managed": MANAGED,
    "device static": DEVICE,
    "managed static": MANAGED,
}
TABLE = "ENUM_CUDA_MEM_KIND"


def memory_types(tables: Tables) -> dict[int, int]:
    """The trace's numbers and ours: by the names in its own table, else as Nsight Systems numbers them."""
    known = tables.columns.get(TABLE, frozenset())
    column = next((c for c in ("label", "name") if c in known), None)
    if not column or "id" not in known:
        return {number: number for number in (PAGEABLE, PINNED, DEVICE, ARRAY, MANAGED)}
    found = {}
    for number, text in tables.base.execute(f"SELECT id, {column} FROM {tables.actual[TABLE]} LIMIT 64"):  # noqa: S608
        word = str(text).lower().replace("cuda_memopr_memory_kind_", "").replace("_", " ")
        if isinstance(number, int):
            found[number] = NAMES.get(word, UNKNOWN)
    return found


def by_number(types: Mapping[int, int]) -> Callable[[Any], Any]:
    """A function from a column of the trace's numbers to one of ours."""

    def ours(numbers: Any) -> Any:
        different, places = np.unique(numbers, return_inverse=True)
        return np.asarray([types.get(int(n), UNKNOWN) for n in different], dtype=np.int8)[places]

    return ours
