"""What this machine can do at best. In: a device. Out: ``Ceilings``: rates of reading, copying and multiplying.

Measured once and kept. Start with record.py; cpu.py and gpu.py measure, cache.py keeps.
"""
