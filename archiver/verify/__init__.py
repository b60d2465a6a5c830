"""Checking blobs and answers against their rows, and repairing what a check finds."""
