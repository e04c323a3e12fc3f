"""One file a library. In: rows and a metric, then queries and k. Out: ``Neighbors``, as the library finds them.

Each class is an ``Engine`` as ../engine.py defines it, and has a line in ../catalog.py. Start with numpy.py. tests/contracts hold every
one of them that is here, tests/gpu/test_engines_cuda.py those of a GPU.
"""
