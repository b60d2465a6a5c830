"""The commands, by name."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "init": "Write a configuration and make the empty archive that it names.",
    "backup": "Keep accounts or highlights once; needs no configuration.",
    "run": "Keep every account of the configuration: what cron calls each night.",
    "plan": "What the next run would do and cost, from what is held.",
    "status": "The archive in numbers; units left at the API.",
    "changes": "What owners edited, added and removed.",
    "search": "Find accounts, highlights and items by words.",
    "gaps": "What the archive knows that it lacks, and why.",
    "costs": "What was paid, by day, account, endpoint or run.",
    "show": "One account, highlight or item, and where its files are.",
    "export": "Hand the archive on: a folder of pictures, tables, a bag for an archive.",
    "query": "Ask the archive with SQL, read-only.",
    "datasette": "What Datasette needs to show the archive with its pictures.",
    "verify": "Check what is kept against its names and rows.",
    "reread": "Add what the database lacks of the kept answers: no call, no cost.",
    "db": "The database: upgrade, current, backup.",
    "demo": "Two nights against a stand-in on this machine: no key, no network, no cost.",
}
