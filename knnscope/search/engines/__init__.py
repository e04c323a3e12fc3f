"""One file a library. In: rows and a metric, then queries and k. Out: ``Neighbors``, as the library finds them.

Each class is an ``Engine`` as ../engine.py defines it, and has a line in ../catalog.py. Start with numpy.py.
"""
