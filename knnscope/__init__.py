"""Which exact vector search is fastest and right on your data and machine, and why the others are slow."""

from knnscope.environment import version as _version
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors

__version__ = _version()
__all__ = ["KnnscopeError", "Neighbors", "__version__"]
