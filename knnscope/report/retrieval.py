"""The measures of runs, and encoders side by side, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from knnscope.analysis.significance import LEVEL, Difference
from knnscope.report.text import plain, table
from knnscope.units import short

NAMES = 100


def heading(facts: Mapping[str, Any]) -> str:
    """What was searched, in a line."""
    name = short(plain(str(facts["dataset"])), NAMES)
    return f"{name}: {facts['documents']:,} documents, {facts['queries']:,} queries ({facts['judged']:,} judged), k = {facts['k']:,}"


def text(
    facts: Mapping[str, Any], systems: Sequence[tuple[str, Mapping[str, float]]], found: Sequence[Difference]
) -> str:
    """All that is printed of a retrieval."""
    lines = [heading(facts)]
    if any(means for _, means in systems):
        names = measure_names(int(facts["k"]))
        cells = [(plain(name), *(f"{means[m]:.4f}" for m in names)) for name, means in systems]
        lines.append(table(cells, ("encoder", *names.values()), range(1, len(names) + 1)))
    if found:
        lines += ["", f"paired randomisation tests, p corrected for {len(found)} tests by Holm's method:"]
        lines += [_line(one, measure_names(int(facts["k"]))) for one in found]
    return "\n".join(lines)


def measure_names(k: int) -> dict[str, str]:
    """What measures are called, in their order."""
    return {"ndcg_at_10": "nDCG@10", "recall_at_k": f"recall@{k}", "mrr_at_10": "MRR@10"}


def _line(one: Difference, names: Mapping[str, str]) -> str:
    a, b = (short(plain(name), NAMES) for name in (one.a, one.b))
    verdict = f"cannot tell at {LEVEL}" if one.verdict == "cannot tell" else f"{b} is {one.verdict}"
    effect = "" if one.effect is None else f", {one.effect:+.2f} standard deviations"
    p = "all" if one.exact else f"{one.tosses:,}"
    return (
        f"{names[one.measure]}: {b} less {a}: {one.difference:+.4f} (95%: {one.low:+.4f} to {one.high:+.4f}){effect}; "
        f"{one.better:,} queries better, {one.worse:,} worse, {one.equal:,} equal; p = {one.p:.2g} ({p} tosses), corrected {one.p_corrected:.2g}: {verdict}"
    )


def html(told: str) -> str:
    """Text for a notebook."""
    return f"<pre>{escape(told)}</pre>"
