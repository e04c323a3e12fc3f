"""Ground truth and its grading in words."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from knnscope.groundtruth.certificate import path_of
from knnscope.groundtruth.grades import Verified, Wrong
from knnscope.report.text import plain
from knnscope.units import short

UNITS = {"l2": "squared distance", "ip": "inner product", "cosine": "cosine similarity"}
NAMES = 100
"""Characters of a name that are shown."""
IN_WORDS = {
    "exact": "exact: the ids that float64 defines, ties by the smallest id",
    "ties": "right up to ties: rows that are exactly as near stand in another order, or for each other",
    "float32": "right up to float32 rounding: only rows that it cannot tell apart were exchanged",
    "undecided": "undecided: float32 rounding is not small against what tells these rows apart, and would excuse wrong rows as well",
    "wrong": "wrong",
}


def heading(certificate: dict[str, Any]) -> str:
    """What it is, in a line."""
    key = certificate["key"]
    base, queries = (key[name] for name in ("base", "queries"))
    return (
        f"{short(plain(base['name']), NAMES)}: {queries['rows']:,} queries, k = {key['k']:,}, {base['rows']:,} rows x {base['dim']:,} "
        f"{base['dtype']}, {key['metric']}"
    )


def truth_text(certificate: dict[str, Any], path: Path | None) -> str:
    """All that is printed of ground truth."""
    key, ties, margin = certificate["key"], certificate["ties_at_k"], certificate["margins"]["to_the_next"]
    k = key["k"]
    lines = [
        heading(certificate),
        f"exact: {certificate['proof']['computed']:,} of {_pairs(key):,} distances computed, bounds exclude all others",
    ]
    if ties["queries"]:
        lines.append(
            f"at {_count(ties['queries'])} place {k:,} is a tie with rows that are not in the answer: the smaller id is"
        )
        for one in ties["listed"][:3]:
            more = ", ..." if one["more_out"] else ""
            lines.append(
                f"  query {one['query']:,}: {one['distance']:.9g}: {_ids(one['in'])} in, {_ids(one['out'])}{more} out"
            )
    else:
        lines.append(f"at no query place {k:,} is a tie with a row that is not in the answer")
    if (blurred := ties["queries_that_float32_cannot_tell"] - ties["queries"]) > 0:
        lines.append(f"at {_count(blurred)} more, float32 cannot tell place {k:,} from the next one")
    if margin["queries"]:
        lines.append(
            f"the next row is further by {margin['least']:.3g} to {margin['most']:.3g}, median {margin['median']:.3g} ({certificate['margins']['in']})"
        )
    if path is not None:
        lines.append("")
        lines += [f"{plain(str(path.with_name(one['name'])))}: {one['holds']}" for one in certificate["files"]]
        lines.append(f"{plain(str(path_of(path)))}: sums of the inputs, definition, margins, ties, how to check")
    return "\n".join(lines)


def verified_heading(found: Verified) -> str:
    """What was graded, in a line."""
    asked = f"{found.queries:,} queries"
    if found.judged < found.queries:
        asked = f"{found.judged:,} of {asked} (seed {found.seed})"
    return f"{short(plain(found.truth), NAMES)}: {asked}, k = {found.k:,}, {found.metric}"


def verified_text(found: Verified) -> str:
    """All that is printed of graded ground truth."""
    lines = [
        verified_heading(found),
        IN_WORDS[found.told],
        ", ".join(f"{count:,} {name}" for name, count in found.counts.items() if count),
        f"recall {found.recall:.6f} by ids, {found.recall_with_ties:.6f} where rows as near as place {found.k:,} count as found",
    ]
    lines += [f"  {_line(one, found.metric)}" for one in found.evidence]
    if found.unshown:
        lines.append(f"  and {found.unshown:,} more")
    if found.distances is not None:
        lines.append(f"distances: {found.distances.told}")
    return "\n".join(lines)


def _line(one: Wrong, metric: str) -> str:
    start = f"query {one.query:,}, place {one.rank:,}: {'row' if one.by_row else 'id'} {one.row:,}"
    if one.rival is None or one.distance is None or one.rival_distance is None:
        return f"{start} {plain(one.why)}"
    gap = abs(one.distance - one.rival_distance)
    told = f"; float32 explains {one.allowed:.3g}" if gap and one.allowed is not None else ""
    return (
        f"{start} ({one.distance:.17g}) stands where {one.rival:,} ({one.rival_distance:.17g}) should, which {plain(one.why)}: "
        f"{gap:.3g} in {UNITS[metric]}{told}"
    )


def html(text: str) -> str:
    """Text for a notebook."""
    return f"<pre>{escape(text)}</pre>"


def _pairs(key: dict[str, Any]) -> int:
    return int(key["base"]["rows"]) * int(key["queries"]["rows"])


def _count(queries: int) -> str:
    return f"{queries:,} quer{'y' if queries == 1 else 'ies'}"


def _ids(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
