"""The search on a toy input, step by step, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = ((1, 2), (2, 3), (3, 4), (5, 5))
QUERY = (2.5, 3.5)


def explain(rows: Any = ROWS, query: Any = QUERY, k: int = 3) -> str:
    """Difference, square, sum, root of every row, then the sort, then the k nearest.

    Args:
        rows: (rows, dim), a handful.
        query: (dim,).
        k: at most the number of rows.
    """
    rows, query = np.asarray(rows, dtype=np.float64), np.asarray(query, dtype=np.float64)
    lines = [f"The {k} of {len(rows)} rows nearest to the query {_vector(query)}", ""]
    distances = []
    for i, row in enumerate(rows):
        difference = row - query
        squares = difference**2
        total = squares.sum()
        distances.append(float(np.sqrt(total)))
        lines += [
            f"row {i}: {_vector(row)}",
            f"  difference from the query  {_vector(difference)}",
            f"  each squared               {_vector(squares)}",
            f"  their sum                  {total:g}",
            f"  its root, the distance     {distances[-1]:.6g}",
        ]
    order = sorted(range(len(rows)), key=distances.__getitem__)
    lines += ["", "Sorted by distance; of equal ones the smaller row number first:"]
    lines += [f"  {rank}. row {i}, distance {distances[i]:.6g}" for rank, i in enumerate(order, 1)]
    lines += ["", f"The answer: rows {', '.join(str(i) for i in order[:k])}"]
    return "\n".join(lines)


def _vector(values: Any) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
