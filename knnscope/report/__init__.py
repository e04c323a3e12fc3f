"""Conclusions as text, HTML and pictures. In: what ``analysis.load`` or the trace package gives. Out: strings and files.

Nothing here measures or decides. Read comparison.py first; text.py draws the tables.
"""
