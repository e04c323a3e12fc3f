"""An index as plain values and arrays, for pickles: rows, ids and codes, as files have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from knnscope import threads as budgets
from knnscope.certified.cpu import dispatch
from knnscope.certified.living import Living
from knnscope.certified.making import Maker, OnCuda
from knnscope.certified.saved import sections, segments
from knnscope.certified.state import Part, state_of


def told(living: Living) -> dict[str, Any]:
    """All of an index; where it lives is not part of it."""
    state, maker = living.state, living.maker
    return {
        "metric": living.metric, "dim": living.dim, "dtype": None if living.dtype is None else np.dtype(living.dtype).str,
        "memory": maker.memory, "device": maker.device, "threads": _threads(maker), "next_id": state.next_id,
        "parts": [(*segments.told(part.segment, maker), part.live) for part in state.parts],
    }  # fmt: skip


def restored(given: dict[str, Any], maker_of: Callable[[str, int | None, str], Maker]) -> Living:
    """The index that was told; codes are written again where they are not for this processor."""
    device = given["device"]
    if device.partition(":")[2] not in ("", *dispatch.available()) and not device.startswith("cuda"):
        device = "auto"
    living = Living(maker_of(device, given["threads"], given["memory"]), given["metric"], given["dim"])
    living.dtype = None if given["dtype"] is None else np.dtype(given["dtype"])
    reader, parts = segments.Reader(living.maker, living.metric, living.dim), []
    for meta, arrays, live in given["parts"]:
        placed = {
            name: sections.aligned(array) if name.startswith(segments.CODES) else array
            for name, array in arrays.items()
        }
        segment = reader.segment(meta, placed)
        parts.append(Part(segment, live, len(segment.ids) if live is None else int(np.count_nonzero(live))))
    living.state = state_of(parts, given["next_id"])
    reader.say("unpickled index")
    return living


def _threads(maker: Maker) -> int | None:
    """As many as were asked for; None where that is what the machine has."""
    count = None if isinstance(maker, OnCuda) else maker.threads
    return None if count == budgets.budget() else count
