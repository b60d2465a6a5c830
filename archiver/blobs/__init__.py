"""Blobs: bytes stored under their SHA-256, and the marker of an archive."""
