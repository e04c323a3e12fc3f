"""Exact search over shards that several workers keep. In: a Dask client and rows. Out: the answer of one index over all rows, bit for bit.

What is merged how is in shards.py, pure; who lost what, and how it comes back, in dask.py. Start with dask.py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knnscope.distributed.dask import DaskIndex, DaskOptions

__all__ = ["DaskIndex", "DaskOptions"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from knnscope.distributed import dask

    return getattr(dask, name)
