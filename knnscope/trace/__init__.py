"""Reads traces of CUDA programs and says why they are slow. Nothing here needs a GPU or imports one's libraries."""
