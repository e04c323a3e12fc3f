"""One file a library: each class is an ``Engine`` (see ../engine.py) and has a line in ../catalog.py; start with numpy.py."""
