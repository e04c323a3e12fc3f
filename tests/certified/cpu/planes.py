"""Planes for few rows."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.components import Directions
from knnscope.certified.cpu import plane


def planes_for_all(patch: pytest.MonkeyPatch) -> None:
    """A plane for few rows, whatever it costs."""
    patch.setattr(plane, "FEWEST", 40)
    patch.setattr(plane, "DIMS", (32, 2048))
    patch.setattr(plane, "WORTH", np.inf)
    patch.setattr(Directions, "most_neighbors", lambda *_: (1 << 20,) * 4)
