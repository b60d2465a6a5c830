"""The journal: every change of a row, in files beside the blobs."""
