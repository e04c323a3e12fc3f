"""Compiled code from a small part of Python. In: a function, and kinds of its arguments. Out: machine code for this processor.

Start with unit.py: a unit is one function that Python calls, with all that it calls, so that each is written and optimised once. kinds.py says what
values there are; body.py writes statements, terms.py expressions, library.py what NumPy and Python bring; machine.py is LLVM.
"""
