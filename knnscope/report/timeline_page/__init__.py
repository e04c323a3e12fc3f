"""A trace as a page that pans and zooms a million events. In: a trace, a window, findings. Out: one HTML file. Start with page.py.

pack.py makes columns of bytes, still.py the picture that is seen without JavaScript; the .js and .css files are put into the document as they are.
"""
