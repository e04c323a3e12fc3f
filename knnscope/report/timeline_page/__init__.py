"""A trace as one HTML file that pans and zooms a million events and needs nothing else, from a disk or a server.

In: a trace, a window, findings. Out: a document. Start with page.py; pack.py makes columns of bytes, still.py the picture that is seen without
JavaScript, and the .js and .css files, put into the document as they are, show the bytes.
"""
