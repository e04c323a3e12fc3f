"""The checkout itself: pages, requirement files, kept results."""
