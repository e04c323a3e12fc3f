"""Why a recorded run is slow. In: a trace as SQLite. Out: columns of events, findings, answers to questions, lanes to draw.

reader.py reads the file into a ``Trace`` (model.py), phases.py splits it, rules/ judges each phase, explain.py ranks the findings,
record.py is what is kept and shown of them. Read explain.py first. A rule is one file in rules/ and a line in its ``RULES``. No GPU is needed.
"""
