"""The archive as web pages that need no server: a page of accounts, one of each account, one of each highlight, and their media."""

from archiver.export.site.build import wanted

__all__ = ["wanted"]
