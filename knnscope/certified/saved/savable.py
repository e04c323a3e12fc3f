"""What an index can do about outliving its process: folders, pickles, copies."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from knnscope.arithmetic import Ieee
from knnscope.certified.devices import Device
from knnscope.certified.living import Living
from knnscope.certified.making import Maker
from knnscope.certified.saved import folder as folders
from knnscope.certified.saved import pickled
from knnscope.certified.saved.files import folder_of
from knnscope.certified.saved.folder import How
from knnscope.errors import KnnscopeError

Folder = str | os.PathLike[str]


class Savable(ABC):
    """The part of ``ExactIndex`` that is about folders, pickles and copies."""

    _living: Living

    @staticmethod
    @abstractmethod
    def _maker_of(device: Device, threads: int | None, memory: str) -> Maker: ...

    def save(self, folder: Folder | None = None) -> None:
        """Write rows, ids and codes to a folder, whole or not at all; on disk when this returns. Docs: saving.md.

        The index goes on in memory: later changes are in the folder only after another ``save``. For changes that are written as they are made load it
        with ``writable=True``.

        Args:
            folder: a new or empty one, or one that holds an index, which is replaced. Default: the one that the index was loaded from with
                ``writable=True``; there all changes are on disk already, and are now written as segments, which load faster.

        Raises:
            KnnscopeError: the folder holds other files, has another writer, or cannot be written.
        """
        with np.errstate(all="ignore"), Ieee():
            if folder is not None:
                folders.save(self._living, folder_of(folder))
            elif self._living.keeper is None:
                raise KnnscopeError(
                    "save() without a folder is for an index that was loaded with writable=True: name one"
                )
            else:
                self._living.save()

    @classmethod
    def load(
        cls,
        folder: Folder,
        mmap: bool = True,
        *,
        writable: bool = False,
        verify: bool = False,
        device: Device = "auto",
        threads: int | None = None,
    ) -> Self:
        """The index in a folder, with all changes that were acknowledged.

        Args:
            folder: as ``save`` wrote it. It may come from anywhere: nothing in it is executed, and nothing outside it is read. Whoever wrote it
                can make answers wrong all the same; what ``verify`` finds is damage.
            mmap: files are mapped, and read as searches need them. False: they are read, and all checksums verified.
            writable: changes are written to the folder, each on disk when its call returns; at most one index at a time may. Without it others may
                write, changes stay in memory, and the index is as the folder was when it was read.
            verify: verify all checksums first, which reads all files. Otherwise those of heads, ids, changes and small arrays.
            device: as in ``ExactIndex``.
            threads: likewise.

        Raises:
            KnnscopeError: there is no index, it is damaged (says which file), or another one writes here.
        """
        made = cls.__new__(cls)
        with np.errstate(all="ignore"), Ieee():
            made._living = folders.load(
                folder_of(folder),
                How(mmap, writable, verify),
                lambda memory: cls._maker_of(device, threads, "fast" if "cuda" in str(device) else memory),
            )
        return made

    def close(self) -> None:
        """Let others write to the folder that the index was loaded from with ``writable=True``. It still answers; it takes no more changes."""
        self._living.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        """An index of its own, in memory; rows and codes, which never change, are shared."""
        made = type(self).__new__(type(self))
        made._living = self._living.copy()
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = self.__copy__()
        return made

    def __getstate__(self) -> dict[str, Any]:
        with np.errstate(all="ignore"), Ieee():
            return pickled.told(self._living)

    def __setstate__(self, given: dict[str, Any]) -> None:
        with np.errstate(all="ignore"), Ieee():
            self._living = pickled.restored(given, self._maker_of)
