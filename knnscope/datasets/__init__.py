"""Data sets. In: a name, a folder, or a file. Out: ``TextDataset`` or ``VectorDataset`` (records.py), with notes on what was odd.

Start with registry.py, which knows every name and picks the reader. A format is one file, and a line in the ``READERS`` of
vector_files.py or tables.py; tests/datasets hold one of vectors to its writer in tests/datasets/vector_writers.py.
"""
