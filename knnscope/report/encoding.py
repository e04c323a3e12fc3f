"""What encoding took, in words: texts, cache and rate; and devices side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knnscope.encoders.devices import DeviceRun
from knnscope.encoders.embed import Work
from knnscope.report.text import table

DEVICES = (
    "device",
    "load s",
    "first batch s",
    "steady s",
    "texts/s",
    "all s",
    "CPU s",
    "speed",
    "largest difference",
)


def work_text(done: Mapping[str, Work]) -> str:
    """A line for the documents and one for the queries."""
    lines = []
    for what, work in done.items():
        if not work.texts:
            lines.append(f"{what}: none in the data set")
            continue
        rate = f" at {work.encoded / work.seconds:,.0f} texts/s" if work.seconds else ""
        again = work.texts - work.cached - work.encoded
        repeated = f", {again:,} the same as another" if again else ""
        lines.append(
            f"{what}: {work.texts:,} texts, {work.cached:,} from the cache, {work.encoded:,} encoded{rate}{repeated}"
        )
    return "\n".join(lines)


def devices_text(runs: Sequence[DeviceRun]) -> str:
    """A table with a line for each device, and what its columns mean."""
    slowest = max(run.wall_s for run in runs)
    rows = [
        (
            run.device,
            f"{run.load_s:.2f}",
            f"{run.first_batch_s:.3f}",
            f"{run.steady_s:.2f}" if run.steady_texts else "-",
            f"{run.texts_per_s:,.0f}" if run.steady_texts else "-",
            f"{run.wall_s:.2f}",
            f"{run.cpu_s:.2f}",
            f"{slowest / run.wall_s:.1f}x",
            f"{run.difference:.1e}",
        )
        for run in runs
    ]
    legend = "steady: after the first batch (-: there was only one); difference: from the first device's vectors"
    return f"{table(rows, DEVICES, right=range(1, len(DEVICES)))}\n{legend}"
