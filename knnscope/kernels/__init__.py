"""CUDA C++ of our own, compiled when first needed (NVRTC) and kept on disk by CuPy."""
