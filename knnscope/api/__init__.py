"""What Python users call, and what each command calls. In: arrays, paths, names, options. Out: records that save, load and print themselves.

Start with comparing.py.
"""
