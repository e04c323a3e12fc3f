"""What each engine takes of memory, and how long it builds."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import ComparisonRun
from knnscope.report import comparison
from knnscope.report.page.content import Block, Chart, Charts, Engine, Grid, Section, Text
from knnscope.report.page.sections.speed import with_engines
from knnscope.report.text import Table
from knnscope.units import size

HOW = (
    "Peak of the whole process, libraries included; of a GPU, what was taken from its free memory, context included. "
    "The larger of building and searching is drawn."
)


def section(run: ComparisonRun) -> Section | None:
    """Peaks as bars, and the table; None where nothing is known."""
    table = comparison.memory(run.rows)
    if table is None:
        return None
    drawn = [_bars(run.rows, on_gpu) for on_gpu in (False, True)]
    found = [chart for chart in drawn if chart is not None]
    blocks: list[Block] = [Text(HOW), *([Charts(found)] if found else []), Grid(with_engines(table))]
    return Section("memory", "Memory", blocks)


def _bars(rows: Sequence[Measurement], on_gpu: bool) -> Chart | None:
    peaks: dict[str, int] = {}
    for r in rows:
        known = (r.build_peak_gpu_bytes, r.peak_gpu_bytes) if on_gpu else (r.build_peak_host_bytes, r.peak_host_bytes)
        if (most := max(filter(None, known), default=0)) and (r.device == "cuda" or not on_gpu):
            peaks[r.engine] = max(peaks.get(r.engine, 0), most)
    if not peaks:
        return None
    ranked = sorted(peaks.items(), key=lambda item: item[1])
    data = [{"engine": name, "value": peak, "text": size(peak), "hint": size(peak)} for name, peak in ranked]
    lines: list[tuple[object, ...]] = [(Engine(name), size(peak)) for name, peak in ranked]
    where = "GPU memory" if on_gpu else "Host memory"
    said = f"Peak of {where}: from {ranked[0][0]}, {size(ranked[0][1])}, to {ranked[-1][0]}, {size(ranked[-1][1])}."
    table = Table("", ("engine", "peak"), lines, right=(1,))
    name = f"memory-{'gpu' if on_gpu else 'host'}"
    return Chart(name, where, said, table, "bars", data, {"unit": "bytes"})
