"""Traces of GPU work. In: a command, or a call in this process. Out: an SQLite file that the trace package reads, or counts of launches.

nsys.py records by Nsight Systems, in_process.py and cupti.py by CUPTI inside a Python program, counts.py counts one call. Start with nsys.py.
"""
