"""Measures engines and rungs. In: a ``Task`` (rows, queries, metric) and what to call. Out: rows as analysis/measurement.py has them.

compare starts in session.py, the ladder in ladder.py; both use the clocks of timing.py and the statuses of failures.py.
"""
