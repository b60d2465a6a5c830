"""The views of the whole archive, by path. Those of accounts, highlights and items have other files."""

from __future__ import annotations

from collections.abc import Mapping

from archiver.web.atom_feed import FEED_PATH, show_feed
from archiver.web.changes_view import show_changes
from archiver.web.costs_view import show_costs
from archiver.web.gaps_view import show_gaps
from archiver.web.search_view import show_search
from archiver.web.timeline_view import show_timeline
from archiver.web.view import View

VIEWS: Mapping[str, View] = {
    "/timeline": show_timeline,
    "/changes": show_changes,
    "/search": show_search,
    "/gaps": show_gaps,
    "/costs": show_costs,
    FEED_PATH: show_feed,
}
"""Each path with its view. They have no placeholders."""
