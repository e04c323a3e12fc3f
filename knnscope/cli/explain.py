"""knnscope explain."""

from __future__ import annotations

import argparse
import json

from knnscope.cli.notes import notes
from knnscope.report.text import plain, table
from knnscope.trace import reader
from knnscope.trace.bound import Bound
from knnscope.trace.compare import SAME, Pair, pairs
from knnscope.trace.explain import Explanation, explain, figures
from knnscope.trace.findings import SEVERITIES
from knnscope.trace.model import Gpu, Trace
from knnscope.units import duration

NOTHING = "nothing was recorded on the GPU: record with knnscope profile, or with nsys profile -t cuda,nvtx PROGRAM"
CHANGES = 12
"""Changes that are printed of a phase."""


class Explain:
    """Why a trace is slow: findings ranked by what mending them would save, each with its evidence and a remedy.

    TRACE is what knnscope profile wrote, or any SQLite export of Nsight Systems. The first line says what bounds the run. A phase is an NVTX range
    of the program: "GPU busy" is how long the GPU had work while the host was in it, "its GPU work" how long the GPU worked on what was launched
    in it, whenever that ran. Savings are predicted for one time through a phase,
    the first time (which loads kernels) left out. --against compares with a later trace, and says whether the predictions came true.

    knnscope explain runs/traces/cupy-loop-75000x384-k10.sqlite
    knnscope explain before.sqlite --against after.sqlite
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("trace", metavar="TRACE", help="a SQLite export of Nsight Systems, or of knnscope profile")
        parser.add_argument("--against", metavar="TRACE", help="a later trace of what should do the same")
        parser.add_argument("--json", action="store_true", help="print a JSON object")
        parser.add_argument(
            "--fail-on", choices=SEVERITIES, help="exit with 1 if there is a finding of this severity or above"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Read, explain, print."""
        told = explain(reader.read(args.trace))
        compared = pairs(told, explain(reader.read(args.against))) if args.against else None
        if args.json:
            whole = told.to_json()
            if compared is not None:
                whole["against"] = [pair.to_json() for pair in compared]
            print(json.dumps(whole, indent=2, allow_nan=False))
        else:
            print(report(told))
            for pair in compared or []:
                print(f"\n{against(pair)}")
        notes([*told.trace.notes, *told.trace.lacks])
        if args.fail_on:
            counted = SEVERITIES[: SEVERITIES.index(args.fail_on) + 1]
            failing = [f for f in told.findings if f.severity in counted]
            if failing:
                notes([f"--fail-on {args.fail_on}: {len(failing)} finding{'s' if len(failing) != 1 else ''}"])
                return 1
        return 0


def report(told: Explanation) -> str:
    """What bounds the run, then phases, findings, what they save together, and what could not be told."""
    trace = told.trace
    parts = [bound_text(trace, bound) for bound in told.bounds] or [NOTHING]
    parts += [f"{_events(trace)}; recorded by {plain(trace.recorder)}", "", *_phases(told), ""]
    several = len(told.bounds) > 1
    for finding in told.findings:
        where = f"{plain(finding.phase)}{f' on GPU {finding.gpu}' if several else ''}"
        overlap = f" It counts some of the same time as {', '.join(finding.overlaps)}." if finding.overlaps else ""
        parts += [
            f"{finding.severity:<6} {finding.rule} in {where}: {plain(finding.title)}",
            f"       would save about {milli(finding.saving_ms)} of each time through it ({100 * finding.share:.0f}%).{overlap} {finding.remedy}",
            f"       evidence: {finding.rows:,} rows of: {plain(finding.sql)}",
        ]
    for total in told.totals:
        parts.append(
            f"together{f' on GPU {total.gpu}' if several else ''} they would save about {milli(total.saving_ms)} of the whole run "
            f"({100 * total.share:.0f}%); time that several of them count is counted once"
        )
    if not told.findings and told.bounds:
        parts.append("no rule finds anything that is worth mending")
    if told.unanswered and told.bounds:
        parts += ["", "not to be told from this trace:"]
        reasons: dict[str, list[str]] = {}
        for name, why in told.unanswered:
            reasons.setdefault(why, []).append(name)
        parts += [f"  {', '.join(names)}: {why}" for why, names in reasons.items()]
    return "\n".join(parts)


def bound_text(trace: Trace, bound: Bound) -> str:
    """In a sentence."""
    low, high = trace.span
    share = {name: f"{100 * value:.1f}%" for name, value in bound.shares.items()}
    what = {"GPU": "the GPU", "copies": "copies", "waiting": "waiting", "host": "the host"}[bound.what]
    name = plain(trace.gpus.get(bound.gpu, Gpu()).name)
    gpu = f"GPU {bound.gpu} ({name})" if len(trace.used) > 1 else name
    return (
        f"bound by {what}: of {(high - low) / 1e9:.3f} s {gpu} runs kernels for {share['GPU']} and only copies for {share['copies']}; "
        f"it has nothing to do for {share['waiting']} while the host waits in a call, and for {share['host']} while the host does anything else"
    )


def _events(trace: Trace) -> str:
    return f"{len(trace.kernels):,} kernels, {len(trace.copies):,} copies, {len(trace.calls):,} API calls"


def _phases(told: Explanation) -> list[str]:
    """A table; below it, what no phase holds."""
    several = len(told.bounds) > 1
    rows = []
    for phase in told.phases:
        f = figures(phase)
        rows.append(
            (
                plain(phase.name)[:60] + (f" (GPU {phase.gpu})" if several else ""),
                f"{f['times']:,}",
                milli(f["host_ms"]),
                milli(f["api_ms"]),
                milli(f["gpu_busy_ms"]),
                milli(f["gpu_work_ms"]),
                f"{f['kernels']:,}",
                f"{f['copies']:,}",
                f"{100 * f['kernel_share']:.0f}/{100 - 100 * f['kernel_share']:.0f}" if f["gpu_work_ms"] else "",
                f"{f['bytes_to_device'] / 1e6:,.1f}",
                f"{f['bytes_to_host'] / 1e6:,.1f}",
            )
        )
    head = (
        "phase",
        "times",
        "host",
        "in API",
        "GPU busy",
        "its GPU work",
        "kernels",
        "copies",
        "kernel/copy %",
        "MB up",
        "MB back",
    )
    parts = [table(rows, head, right=tuple(range(1, len(head))))] if rows else []
    for rest, whole in zip(told.outside, told.whole, strict=False):
        parts.append(
            f"outside all phases{f' on GPU {rest.gpu}' if several else ''}: {milli(rest.host_ms)} of {milli(whole.host_ms)}, "
            f"{rest.kernels:,} of {whole.kernels:,} kernels, {rest.copies:,} of {whole.copies:,} copies, "
            f"{milli(rest.gpu_ms)} of {milli(whole.gpu_ms)} of GPU work"
        )
    return parts


def against(pair: Pair) -> str:
    """A phase before and after."""
    before, after = pair.before, pair.after
    was, now = before.host_ns / before.times / 1e6, after.host_ns / after.times / 1e6
    lines = [
        f"{plain(before.name)} -> {plain(after.name)}: {milli(was)} -> {milli(now)}, {was / max(now, 1e-9):,.2f} times as fast"
    ]
    cells = [
        (
            c.word,
            c.what,
            plain(c.name)[:60],
            f"{c.before[0]:,.4g}",
            f"{c.after[0]:,.4g}",
            milli(c.before[1]),
            milli(c.after[1]),
        )
        for c in pair.changes[:CHANGES]
    ]
    if cells:
        head = ("", "", "name", "before", "after", "time before", "time after")
        lines.append(table(cells, head, right=(3, 4, 5, 6)))
    else:
        lines.append(f"no kernel or call differs in number, or in time by more than {100 * SAME:.0f}%")
    if len(pair.changes) > CHANGES:
        lines.append(f"... and {len(pair.changes) - CHANGES} more")
    if pair.gone:
        lines.append(f"less than before of what these findings count: {', '.join(pair.gone)}")
    if pair.came_true is not None:
        lines.append(
            f"predicted to save {milli(pair.predicted_ms)}, saved {milli(pair.measured_ms)}: "
            + ("came true" if pair.came_true else "did not come true")
        )
    return "\n".join(lines)


def milli(ms: float) -> str:
    """Milliseconds in the unit that suits them."""
    return ("-" if ms < 0 else "") + duration(abs(ms) * 1e6)
