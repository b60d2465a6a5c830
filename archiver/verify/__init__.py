"""Checks of blobs and answers against their rows, and repair of what a check finds."""
