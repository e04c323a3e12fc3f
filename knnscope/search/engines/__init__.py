"""One file a library: each class is an ``Engine`` (see ../engine.py) and has a line in ../catalog.py; start with numpy.py.

tests/contracts hold every one of them that is here, tests/gpu/test_engines_cuda.py those of a GPU.
"""
