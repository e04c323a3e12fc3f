"""One file a section of the page. In: records of a run or a trace. Out: blocks, or none where there is nothing to say. Start with decision.py."""
