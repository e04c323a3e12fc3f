"""What judges think of each engine's answers."""

from __future__ import annotations

from knnscope.analysis.run import ComparisonRun
from knnscope.report import comparison
from knnscope.report.page.content import Grid, Section, Text
from knnscope.report.page.sections.speed import with_engines


def section(run: ComparisonRun) -> Section:
    """nDCG, recall and MRR, or why there are none."""
    table = comparison.quality(run.rows)
    if table is None:
        none = "This data has no judgements of which answers are relevant, so only correctness is known: the neighbors, not their use."
        return Section("quality", "Retrieval quality", [Text(none)])
    how = (
        "By the data's own judgements of relevance, as trec_eval counts. Exact engines differ only where they exchange rows at "
        "equal distance; a larger difference would be an error."
    )
    return Section(
        "quality",
        "Retrieval quality",
        [Text(how), Grid(table if any(line[0] == "all" for line in table.lines) else with_engines(table))],
    )
