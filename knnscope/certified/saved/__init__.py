"""An index in a folder. In: rows, ids and codes of its segments, and changes. Out: the same index, in another process.

Start with folder.py; sections.py is the format of arrays that are mapped, journal.py that of changes since; savable.py is what ``ExactIndex`` has of it.
"""
