"""Every read: rows in, values of the model out.

Each function takes a connection first, for ``Catalog.read``.
"""
