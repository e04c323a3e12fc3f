"""Why a recorded run is slow. In: a trace as SQLite. Out: columns of events, findings, answers to questions, lanes to draw.

reader.py reads the file into a ``Trace`` (model.py), phases.py splits it, rules/ judges each phase, explain.py ranks the findings: read
explain.py first. A rule is one file in rules/ and a line in its ``RULES``. Nothing here needs a GPU or imports one's libraries.
"""
