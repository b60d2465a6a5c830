"""Whether the tables, views and triggers of a SQLite file are archiver's own.

A file may come from a stranger. A view in place of a table can go on without end. While archiver writes,
other rows can be changed by a trigger, by a foreign key that cascades, by a virtual table in place of a
table, or by ``ON CONFLICT`` in a table. The triggers of the journal and of the sums are compared where they
are made.
"""

from __future__ import annotations

import hashlib
import re

from sqlalchemy import Connection

TABLES = frozenset({
    "account_totals", "adopted", "alembic_version", "answers", "api_calls", "api_rate", "archive",
    "blobs", "budget_totals", "changes", "deletions", "failures", "files", "hashtags", "highlight_items",
    "highlights", "items", "journal_commits", "journal_head", "journal_lease", "journal_outbox", "links",
    "locations", "mentions", "monthly_totals", "removal_requests", "removals", "reshares", "run_reports",
    "runs", "search_documents", "search_index", "search_index_config", "search_index_data",
    "search_index_idx", "shared_runs", "sponsors", "stickers", "targets", "usernames", "users", "visits",
    "workers",
})  # fmt: skip
OF_JOURNAL, OF_COUNTERS = "journal_", "counter_"
"""What the names of the triggers begin with that ``Dialect.has_triggers`` compares."""
_OF_SEARCH = "search_"
_INDEX_OF_SEARCH = "search_index"
_CHANGES_ROWS = re.compile(r"\b(cascade|set|conflict|virtual)\b", re.IGNORECASE)
_OTHERWISE = frozenset({"journal_lease", "run_reports", "visits", _INDEX_OF_SEARCH})
"""Tables that are made with such words. The first three are for workers, and empty on SQLite."""
_SQL = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"


def find_view_of_table(connection: Connection) -> str | None:
    """Return the view in place of a table of archiver, as "view users"; None if there is none."""
    views = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'view'").scalars()
    return next((f"view {name}" for name in views if name.lower() in TABLES), None)


def find_foreign(connection: Connection, *, is_newest: bool = True) -> str | None:
    """Return what can change rows and archiver did not make, or made otherwise, as "trigger mine"; else None.

    ``is_newest``: the database is at the newest revision, so that its views, and what is for the search, are
    compared too. Views with other names, and other tables with triggers of their own, are somebody's own, and
    no harm, unless a foreign key of theirs refers to a table of archiver.
    """
    found = connection.exec_driver_sql(_SQL).all()
    for kind, name, table, sql in found:
        is_own = table.lower() in TABLES  # SQLite keeps a name as it was typed, and ignores case
        if kind == "trigger" and is_own and not name.startswith((OF_JOURNAL, OF_COUNTERS, _OF_SEARCH)):
            return f"{kind} {name}"
        if kind == "index" and is_own and not name.startswith("uq_") and " UNIQUE " in sql[:16].upper():
            return f"{kind} {name}"
        if kind == "table" and is_own and name not in _OTHERWISE and _CHANGES_ROWS.search(sql):
            return f"{kind} {name}"
        if kind == "table" and not is_own and "references" in sql.lower():
            quoted = name.replace('"', '""')
            keys = connection.exec_driver_sql(f'PRAGMA foreign_key_list("{quoted}")').all()
            if any(key[2].lower() in TABLES for key in keys):
                return f"{kind} {name}"
    if not is_newest:
        return None
    present = digests(connection)
    return next(
        (name for name in sorted({*DIGESTS, *present}) if DIGESTS.get(name) != present.get(name)), None
    )


def digests(connection: Connection) -> dict[str, str]:
    """Return half the SHA-256 of the SQL of each view, and of the index for the search and its triggers."""
    return {
        f"{kind} {name}": hashlib.sha256(" ".join(sql.split()).encode()).hexdigest()[:32]
        for kind, name, table, sql in connection.exec_driver_sql(_SQL)
        if (kind == "view" and f"view {name}" in DIGESTS)
        or name == _INDEX_OF_SEARCH
        or (kind == "trigger" and table.lower() in TABLES and name.startswith(_OF_SEARCH))
    }


DIGESTS = {
    "table search_index": "63d49e5e0230ac352fc18b0c7b81e143",
    "trigger search_added_changes": "96d517f4ca809dce861beb0058a751d5",
    "trigger search_added_hashtags": "b23d1724d88d7670f06223634b561ac9",
    "trigger search_added_highlight_items": "78e75a9c0a7658cb8572cee3595010f7",
    "trigger search_added_highlights": "4be5a6cac634ce790d8e8b346fab4340",
    "trigger search_added_items": "4081f072df3bab30b9644020b9780368",
    "trigger search_added_links": "e471a42390fd7615a8133ce6d76e0825",
    "trigger search_added_locations": "341c08403166fbbe2eea5ccd748d8844",
    "trigger search_added_mentions": "0e3b8de26524883a15f79540de0c1449",
    "trigger search_added_sponsors": "9afce0c0de407906a7ce61adc2c05ccb",
    "trigger search_added_usernames": "698dfbcaa2720b4ed197e7d93599462a",
    "trigger search_added_users": "cc180234eb4500b4c7875d2a19aee092",
    "trigger search_altered_changes": "f3ac44f5d4f9af81a27d48f51b7e2a28",
    "trigger search_altered_hashtags": "c8a8fbadd462271d384936a2729d4da7",
    "trigger search_altered_highlight_items": "90a3077f07dcd03b657da0ddb307f871",
    "trigger search_altered_highlights": "60cfc16d9a615c4b07c9d88032b820a6",
    "trigger search_altered_items": "cf64ce9bebdb3cb10e46c09ad82e702d",
    "trigger search_altered_links": "32f0d12128bc3cb1980ff929e7603d9a",
    "trigger search_altered_locations": "65fbf97ed80be029f3f9b0dc32da49c4",
    "trigger search_altered_mentions": "ffd7710fe70754cf748dc36d8a8e56e5",
    "trigger search_altered_sponsors": "011ec033d8dbebc52d445c6bd4cb77f5",
    "trigger search_altered_usernames": "0f2668eba94a395915ea90d749b68712",
    "trigger search_altered_users": "a93179477b1ea7b07e9fdaea471c2885",
    "trigger search_documents_added": "ddb88d30be1548007864349c892013b7",
    "trigger search_documents_altered": "e4205114dc38b02ae7a0d9bff47a44fc",
    "trigger search_documents_removed": "30d3597603de338ba023aa02f35871dc",
    "trigger search_moved_highlights": "e567da6240b38b2e0b24fa6d0982c7b2",
    "trigger search_removed_changes": "7efb5b14d5f39db451bc8f99f16b7ef7",
    "trigger search_removed_hashtags": "d35bdddee8b587251bc4a81c9eb915e9",
    "trigger search_removed_highlight_items": "b270192c3b360c318d46a19f07890c1d",
    "trigger search_removed_highlights": "58f4962afd131bc5d1caa06fbc0224a7",
    "trigger search_removed_items": "c0c4c15f8288f73008faa2ec52eada7b",
    "trigger search_removed_links": "2fd2584dc265167704b85cf618aecb04",
    "trigger search_removed_locations": "e6cdc896e4ee5c3122beffb001ad03b5",
    "trigger search_removed_mentions": "7becf5a9cff78e4ee3bac747c2ae3351",
    "trigger search_removed_sponsors": "72a44cf9b0fe4f3a888ff0200fe95768",
    "trigger search_removed_usernames": "93c87894a2e8e446c84a3aa19be69994",
    "trigger search_removed_users": "feeaa2cf828f7fbfb35b3a9366d313f3",
    "view account_files": "e2e7abb7d5a2e80a11e8503f3b835a97",
    "view account_highlights": "937994230b311b6d51f9921b4819c6df",
    "view account_items": "cacd24424a185dd007799d3c852f36b8",
    "view accounts": "e8c65904af8362d6e5e7cd9502e966c0",
    "view current_files": "0266dfdeb9370c6c80b145ef66fc0e57",
    "view gone_upstream": "a899c9857b94622eb8d51d7a553ec025",
    "view growth": "ca548090fa90be2f7d628f633e5926e7",
    "view highlight_contents": "e6542e10aa245b6c238e759afca79fad",
    "view highlight_titles": "3ec6acc2d5173e7f8ab002c0d8bfe204",
    "view item_hashtags": "d0efcbf29092f2035d5e18032d1dc2fd",
    "view item_links": "32f7b700574724189eb496466be82ffe",
    "view item_locations": "5d9836142eb8591919684c5d36e9f295",
    "view item_mentions": "ec2836c2cf8c88bcf411cf305df02296",
    "view named_changes": "6e795abe4596429106d139fb160a8558",
    "view paid_calls": "b89b8fe71d5fe4f94437101e9accf884",
    "view shared_items": "7c05d7786469c28e98c4ee81a218179c",
}
"""The ``digests`` of a new database; a test compares the two."""
