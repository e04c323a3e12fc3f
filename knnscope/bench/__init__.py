"""Measuring engines side by side: what to run, how to time it, who does the work, what the figures say."""
