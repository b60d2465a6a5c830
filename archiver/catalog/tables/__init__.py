"""The tables, as SQLAlchemy sees them. They are made by ``migrations/`` alone; a test holds both against each other.

What each column means stands in docs/schema.md. ``answer_id`` columns are no foreign keys: an answer whose segment is dropped
(``keep_answers = "fetched"``) takes its row along, and what came from it stays.
"""

from __future__ import annotations

from archiver.catalog.tables.base import metadata
from archiver.catalog.tables.entries import hashtags, links, locations, mentions, reshares, sponsors, stickers
from archiver.catalog.tables.held import blobs, files
from archiver.catalog.tables.history import changes, failures
from archiver.catalog.tables.paid import answers, api_calls, archive, runs
from archiver.catalog.tables.search import is_told, search_documents
from archiver.catalog.tables.shown import highlight_items, highlights, items, targets, usernames, users
from archiver.catalog.tables.totals import account_totals, monthly_totals

__all__ = [
    "account_totals",
    "answers",
    "api_calls",
    "archive",
    "blobs",
    "changes",
    "failures",
    "files",
    "hashtags",
    "highlight_items",
    "highlights",
    "is_told",
    "items",
    "links",
    "locations",
    "mentions",
    "metadata",
    "monthly_totals",
    "reshares",
    "runs",
    "search_documents",
    "sponsors",
    "stickers",
    "targets",
    "usernames",
    "users",
]
