"""Which exact vector search is fastest and right on your data and machine, and why the others are slow."""

from typing import TYPE_CHECKING, Any

from knnscope.environment import version as _version
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors

if TYPE_CHECKING:
    from knnscope.certified.index import ExactIndex

__version__ = _version()
__all__ = ["ExactIndex", "KnnscopeError", "Neighbors", "__version__"]


def __getattr__(name: str) -> Any:
    """``ExactIndex`` brings a compiler along, so it is loaded when it is first asked for."""
    if name == "ExactIndex":
        from knnscope.certified.index import ExactIndex

        return ExactIndex
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
