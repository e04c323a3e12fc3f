"""Why a trace is slow, in words and as HTML: what bounds the run, its phases, findings, and what changed against a later trace."""

from __future__ import annotations

from typing import Any

import msgspec

from knnscope.report import markup
from knnscope.report.text import plain, table
from knnscope.trace.compare import SAME
from knnscope.trace.model import Gpu
from knnscope.trace.record import BoundRecord, ExplanationRecord, FindingRecord, PairRecord, TotalRecord
from knnscope.units import duration, percent

NOTHING = "nothing was recorded on the GPU: record with knnscope profile, or with nsys profile -t cuda,nvtx PROGRAM"
NO_TIME = "what was recorded took no time: record for longer"
CHANGES = 12
"""Changes that are printed of a phase."""
PAIRS = 20
"""Phases of two traces that a notebook shows."""
PHASE_HEAD = (
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
NUMBERS = tuple(range(1, len(PHASE_HEAD)))
BOUND_BY = {"GPU": "the GPU", "copies": "copies", "waiting": "waiting", "host": "the host"}


def text(told: ExplanationRecord) -> str:
    """What bounds the run, then phases, findings, what they save together, and what this trace cannot answer."""
    parts = bounds(told)
    parts += [f"{_events(told)}; recorded by {plain(told.trace.recorder)}", ""]
    if lines := phases(told):
        parts.append(table(lines, PHASE_HEAD, right=NUMBERS))
    parts += [*_outside(told), "", *_findings(told)]
    if told.unanswered and told.bounds:
        parts += ["", "this trace cannot answer:"]
        reasons: dict[str, list[str]] = {}
        for missing in told.unanswered:
            reasons.setdefault(missing.why, []).append(missing.rule)
        parts += [f"  {plain(', '.join(names))}: {plain(why)}" for why, names in reasons.items()]
    return "\n\n".join(["\n".join(parts), *map(_pair, told.against or [])])


def html(told: ExplanationRecord) -> str:
    """The same for a notebook: sentences and tables; the evidence stays in ``str`` and ``to_dict``."""
    parts = [markup.paragraph(line) for line in bounds(told)]
    parts.append(markup.table(PHASE_HEAD, phases(told), right=NUMBERS))
    lines = [
        (f.severity, f.rule, f.phase, f.title, f"{saves(f)} ({percent(f.share)})", f.remedy) for f in told.findings
    ]
    parts.append(markup.table(("severity", "rule", "phase", "what", "would save", "remedy"), lines))
    for pair in (told.against or [])[:PAIRS]:
        parts += [markup.paragraph(line) for line in (_heading(pair), _outcome(pair)) if line]
    return markup.div(parts)


def rows(told: ExplanationRecord) -> list[dict[str, Any]]:
    """A flat dict a finding."""
    found = []
    for finding in told.findings:
        flat = msgspec.to_builtins(finding)
        evidence = flat.pop("evidence")
        found.append(
            {**flat, "overlaps": ", ".join(finding.overlaps), "sql": evidence["sql"], "rows": evidence["rows"]}
        )
    return found


def bounds(told: ExplanationRecord) -> list[str]:
    """A sentence for each GPU, or that there is none."""
    if told.bounds:
        return [_bound(told, bound) for bound in told.bounds]
    return [NOTHING if not told.trace.gpus else NO_TIME]


def _bound(told: ExplanationRecord, bound: BoundRecord) -> str:
    """What bounds a GPU's run, in a sentence."""
    share = {name: f"{100 * value:.1f}%" for name, value in msgspec.to_builtins(bound.shares).items()}
    name = plain(told.trace.gpus.get(str(bound.gpu), Gpu().name))
    gpu = f"GPU {bound.gpu} ({name})" if len(told.bounds) > 1 else name
    return (
        f"bound by {BOUND_BY[bound.what]}: of {duration(told.trace.span_ns)} {gpu} runs kernels for {share['GPU']} and only copies for "
        f"{share['copies']}; it is idle for {share['waiting']} while the host waits in a call, and for {share['host']} while the host "
        "does anything else"
    )


def _events(told: ExplanationRecord) -> str:
    trace = told.trace
    return f"{trace.kernels:,} kernels, {trace.copies:,} copies, {trace.calls:,} API calls"


def phases(told: ExplanationRecord) -> list[tuple[str, ...]]:
    """A line for each phase, figures of one time through it."""
    several = len(told.bounds) > 1
    return [
        (
            plain(f.phase)[:60] + (f" (GPU {f.gpu})" if several else ""),
            f"{f.times:,}",
            milli(f.host_ms),
            milli(f.api_ms),
            milli(f.gpu_busy_ms),
            milli(f.gpu_work_ms),
            f"{f.kernels:,.4g}" if f.kernels < 1000 else f"{f.kernels:,.0f}",
            f"{f.copies:,.4g}" if f.copies < 1000 else f"{f.copies:,.0f}",
            f"{100 * f.kernel_share:.0f}/{100 - 100 * f.kernel_share:.0f}" if f.gpu_work_ms else "",
            f"{f.bytes_to_device / 1e6:,.1f}",
            f"{f.bytes_to_host / 1e6:,.1f}",
        )
        for f in told.phases
    ]


def _outside(told: ExplanationRecord) -> list[str]:
    """A line for each GPU on what no phase holds."""
    several = len(told.bounds) > 1
    return [
        f"outside all phases{f' on GPU {rest.gpu}' if several else ''}: {milli(rest.host_ms)} of {milli(whole.host_ms)}, "
        f"{rest.kernels:,} of {whole.kernels:,} kernels, {rest.copies:,} of {whole.copies:,} copies, "
        f"{milli(rest.gpu_ms)} of {milli(whole.gpu_ms)} of GPU work"
        for rest, whole in zip(told.outside, told.whole, strict=False)
    ]


def _findings(told: ExplanationRecord) -> list[str]:
    several = len(told.bounds) > 1
    parts = []
    for finding in told.findings:
        where = f"{plain(finding.phase)}{f' on GPU {finding.gpu}' if several else ''}"
        overlap = (
            f" Some of that time is also counted by {plain(', '.join(finding.overlaps))}." if finding.overlaps else ""
        )
        parts += [
            f"{finding.severity:<6} {plain(finding.rule)} in {where}: {plain(finding.title)}",
            f"       would save {saves(finding)} of each time through it ({100 * finding.share:.0f}%).{overlap} {plain(finding.remedy)}",
            f"       evidence: {finding.rows:,} rows of: {plain(finding.sql)}",
        ]
    parts += totals(told)
    return parts or (["no rule finds anything worth changing"] if told.bounds else [])


def totals(told: ExplanationRecord) -> list[str]:
    """What all findings of a GPU save together."""
    several = len(told.bounds) > 1
    return [
        f"together{f' on GPU {total.gpu}' if several else ''} they would save {_together(total)}; time that several of them count is counted once"
        for total in told.totals
    ]


def _together(total: TotalRecord) -> str:
    """An estimate, and what may come on top where only a bound is known."""
    if not total.saving_ms and total.up_to_ms:
        return f"up to {milli(total.up_to_ms)} of the whole run, in which the host itself does something"
    more = f", and up to {milli(total.up_to_ms)} more of what the host itself does" if total.up_to_ms else ""
    return f"about {milli(total.saving_ms)} of the whole run ({100 * total.share:.0f}%){more}"


def saves(finding: FindingRecord) -> str:
    """An estimate, or a bound, in words."""
    return f"{'up to' if finding.at_most else 'about'} {milli(finding.saving_ms)}"


def _pair(pair: PairRecord) -> str:
    """A phase before and after."""
    lines = [_heading(pair)]
    cells = [
        (
            plain(c.word),
            plain(c.what),
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
        lines.append(f"no kernel, copy or call differs in number, or in time by more than {percent(SAME)}")
    if len(pair.changes) > CHANGES:
        lines.append(f"... and {len(pair.changes) - CHANGES} more")
    if pair.gone:
        lines.append(f"fewer or shorter than before are the events of these findings: {plain(', '.join(pair.gone))}")
    return "\n".join([*lines, *filter(None, [_outcome(pair)])])


def _heading(pair: PairRecord) -> str:
    was, now = (p.host_ms if p.long_ms is None else p.long_ms for p in (pair.before, pair.after))
    faster = f", {was / now:,.2f} times as fast" if was and now else ""
    return f"{plain(pair.before.phase)} -> {plain(pair.after.phase)}: {milli(was)} -> {milli(now)}{faster}"


def _outcome(pair: PairRecord) -> str:
    """Whether the prediction came true; empty where there was none."""
    if pair.came_true is None:
        return ""
    outcome = "came true" if pair.came_true else "did not come true"
    return f"predicted to save {milli(pair.predicted_ms)}, saved {milli(pair.measured_ms)}: {outcome}"


def milli(ms: float) -> str:
    """Milliseconds in the unit that suits them."""
    return ("-" if ms < 0 else "") + duration(abs(ms) * 1e6)
