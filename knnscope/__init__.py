"""Which exact vector search is fastest and right on your data and machine, and why the others are slow.

Everything public is here; docs/python.md has an example of each. A name is loaded when it is first used, so that importing the package
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knnscope.api.changing import Changes, changes
    from knnscope.api.climbing import ClimbOptions, Ladder, climb
    from knnscope.api.comparing import CompareOptions, Comparison, compare
    from knnscope.api.crossing import Crossover, CrossoverOptions, crossover
    from knnscope.api.embedding import Embedding, embed
    from knnscope.api.explaining import Explanation, Trace, explain
    from knnscope.api.grading import GradeOptions, Grades, grade
    from knnscope.api.ground_truth import Truth, TruthOptions, truth
    from knnscope.api.loading import load
    from knnscope.api.machine import Machine, info
    from knnscope.api.retrieving import Retrieval, RunOptions, run
    from knnscope.api.searching import knn
    from knnscope.api.verifying import Verification, VerifyOptions, verify
    from knnscope.certified.filters import Bits, Keep, Without
    from knnscope.certified.index import ExactIndex
    from knnscope.distributed.dask import DaskIndex, DaskOptions
    from knnscope.errors import KnnscopeError
    from knnscope.ragged import RadiusNeighbors
    from knnscope.records import Certificate, Neighbors

    __version__: str

PUBLIC = {
    "Bits": "knnscope.certified.filters:Bits",
    "Certificate": "knnscope.records:Certificate",
    "Changes": "knnscope.api.changing:Changes",
    "ClimbOptions": "knnscope.api.climbing:ClimbOptions",
    "CompareOptions": "knnscope.api.comparing:CompareOptions",
    "Comparison": "knnscope.api.comparing:Comparison",
    "Crossover": "knnscope.api.crossing:Crossover",
    "CrossoverOptions": "knnscope.api.crossing:CrossoverOptions",
    "DaskIndex": "knnscope.distributed.dask:DaskIndex",
    "DaskOptions": "knnscope.distributed.dask:DaskOptions",
    "Embedding": "knnscope.api.embedding:Embedding",
    "ExactIndex": "knnscope.certified.index:ExactIndex",
    "Explanation": "knnscope.api.explaining:Explanation",
    "GradeOptions": "knnscope.api.grading:GradeOptions",
    "Grades": "knnscope.api.grading:Grades",
    "Keep": "knnscope.certified.filters:Keep",
    "KnnscopeError": "knnscope.errors:KnnscopeError",
    "Ladder": "knnscope.api.climbing:Ladder",
    "Machine": "knnscope.api.machine:Machine",
    "Neighbors": "knnscope.records:Neighbors",
    "RadiusNeighbors": "knnscope.ragged:RadiusNeighbors",
    "Retrieval": "knnscope.api.retrieving:Retrieval",
    "RunOptions": "knnscope.api.retrieving:RunOptions",
    "Trace": "knnscope.api.explaining:Trace",
    "Truth": "knnscope.api.ground_truth:Truth",
    "TruthOptions": "knnscope.api.ground_truth:TruthOptions",
    "Verification": "knnscope.api.verifying:Verification",
    "VerifyOptions": "knnscope.api.verifying:VerifyOptions",
    "Without": "knnscope.certified.filters:Without",
    "changes": "knnscope.api.changing:changes",
    "climb": "knnscope.api.climbing:climb",
    "compare": "knnscope.api.comparing:compare",
    "crossover": "knnscope.api.crossing:crossover",
    "embed": "knnscope.api.embedding:embed",
    "explain": "knnscope.api.explaining:explain",
    "grade": "knnscope.api.grading:grade",
    "info": "knnscope.api.machine:info",
    "knn": "knnscope.api.searching:knn",
    "load": "knnscope.api.loading:load",
    "run": "knnscope.api.retrieving:run",
    "truth": "knnscope.api.ground_truth:truth",
    "verify": "knnscope.api.verifying:verify",
}
"""Public names, and where each comes from."""

__all__ = [
    "Bits",
    "Certificate",
    "Changes",
    "ClimbOptions",
    "CompareOptions",
    "Comparison",
    "Crossover",
    "CrossoverOptions",
    "DaskIndex",
    "DaskOptions",
    "Embedding",
    "ExactIndex",
    "Explanation",
    "GradeOptions",
    "Grades",
    "Keep",
    "KnnscopeError",
    "Ladder",
    "Machine",
    "Neighbors",
    "RadiusNeighbors",
    "Retrieval",
    "RunOptions",
    "Trace",
    "Truth",
    "TruthOptions",
    "Verification",
    "VerifyOptions",
    "Without",
    "__version__",
    "changes",
    "climb",
    "compare",
    "crossover",
    "embed",
    "explain",
    "grade",
    "info",
    "knn",
    "load",
    "run",
    "truth",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name == "__version__":
        found: Any = import_module("knnscope.environment").version()
    elif name in PUBLIC:
        module, _, attribute = PUBLIC[name].partition(":")
        found = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
