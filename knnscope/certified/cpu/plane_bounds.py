"""The formulas of ../plane_bound.py, compiled: see bounds.py."""

from __future__ import annotations

from knnscope.certified import plane_bound
from knnscope.certified.cpu.bounds import form

residual, rest = form(plane_bound.residual), form(plane_bound.rest)
limit, least, key = form(plane_bound.limit), form(plane_bound.least), form(plane_bound.key)
