"""Queries: each reads rows and returns values of the model.

The first argument of each function is a connection, for ``Catalog.read``.
"""
