"""Token ids to the inputs that a graph takes, in its own types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.encoders.declared import Declared, pad_id, position_offset
from knnscope.errors import KnnscopeError

KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
OWN_PREFIX = "pool."
DTYPES: dict[str, type[np.generic]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts side by side: token ids, 1 for a token and 0 for filling, both (texts, tokens); where each text begins, (texts,)."""

    ids: Array
    mask: Array
    first: Array

    def kept(self, skip: int) -> Array:
        """The mask, (texts, tokens), without the first ``skip`` tokens of each text."""
        return self.mask * (np.arange(self.mask.shape[1]) >= (self.first + skip)[:, None]) if skip else self.mask


class Inputs:
    """What a session asks for.

    width, batch: the only sizes that it takes, None where any will do.
    """

    def __init__(self, session: Any, declared: Declared, own: bool, where: Path) -> None:
        ports = {port.name: port for port in session.get_inputs() if not port.name.startswith(OWN_PREFIX)}
        if "input_ids" not in ports or set(ports) - set(KNOWN):
            taken = ", ".join(sorted(ports))[:200] or "nothing"
            raise KnnscopeError(
                f"{where}: takes {taken}; an encoder takes input_ids and at most {', '.join(KNOWN[1:])}"
            )
        for name, port in ports.items():
            if port.type not in DTYPES:
                raise KnnscopeError(f"{where}: its input {name} is a {port.type}: {', '.join(DTYPES)} are supported")
        self._dtypes = {name: DTYPES[port.type] for name, port in ports.items()}
        shape = ports["input_ids"].shape
        if len(shape) != 2:
            raise KnnscopeError(f"{where}: its input input_ids is not of shape (batch, tokens)")
        self.batch, self.width = (size if isinstance(size, int) and size > 0 else None for size in shape)
        self._masked = "attention_mask" in ports
        if self.width and not self._masked:
            raise KnnscopeError(
                f"{where}: takes {self.width} tokens only, and no attention_mask that would tell which of them are filling"
            )
        self._pad, self._offset = pad_id(declared.config), position_offset(declared.config)
        # pooled here, filling on the right changes nothing; a graph that takes the last column wants it where its tokenizer has it
        self._left = own and declared.padding_side == "left"

    def groups(self, lengths: Sequence[int]) -> Iterator[Array]:
        """Numbers of rows that may share a call, int64: any, or of one length where no mask tells filling from tokens."""
        rows = np.arange(len(lengths))
        groups = [rows] if self._masked else [rows[np.equal(lengths, n)] for n in sorted(set(lengths))]
        for group in groups:
            size = self.batch or len(group)
            for start in range(0, len(group), size):
                yield group[start : start + size]

    def lay_out(self, tokens: Sequence[Sequence[int]], pad_to: int | None) -> Batch:
        """Token ids of texts side by side, as wide as the longest, ``pad_to``, or the session wants it."""
        longest = max(1, *(len(row) for row in tokens))
        width = self.width or (max(pad_to, longest) if pad_to and self._masked else longest)
        count = self.batch or len(tokens)
        ids = np.full((count, width), self._pad, np.int64)
        mask = np.zeros((count, width), np.int64)
        first = np.zeros(count, np.int64)
        for i in range(count):
            row = tokens[min(i, len(tokens) - 1)]  # a batch that is not full repeats its last text
            start = width - len(row) if self._left else 0
            ids[i, start : start + len(row)] = row
            mask[i, start : start + len(row)] = 1
            first[i] = start
        return Batch(ids, mask, first)

    def feed(self, batch: Batch) -> dict[str, Array]:
        """The inputs by name, each (texts, tokens), in the type that the session declares."""
        place = np.maximum(np.arange(batch.ids.shape[1]) - batch.first[:, None], 0) * batch.mask
        values = {
            "input_ids": batch.ids,
            "attention_mask": batch.mask,
            "token_type_ids": np.zeros_like(batch.ids),
            "position_ids": place + self._offset,
        }
        return {name: values[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
