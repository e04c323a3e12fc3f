"""What the user is told beside the result, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from knnscope.report.text import plain


def notes(lines: Iterable[str]) -> None:
    """Print each as a note."""
    for line in lines:
        print(f"note: {plain(line)}", file=sys.stderr)
