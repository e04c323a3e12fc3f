"""This project's CUDA C++. In: arrays on a GPU. Out: the nearest rows, by one kernel.

Compiled when first needed (NVRTC) and kept on disk by CuPy. Start with fused_topk.py; sources.py names every file and what it is compiled for.
"""
