"""Compile for a kind of rows, for the process that started this one, and end with it: ``python -m knnscope.certified float32 C vnni fast``."""

from __future__ import annotations

import sys

from knnscope.processes import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    from knnscope.certified import warm  # takes half a second

    warm.compile_for(*sys.argv[1:])
