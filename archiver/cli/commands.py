"""The commands, by name."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS: Mapping[str, str] = {
    "init": "Write a configuration and make the empty archive that it names.",
    "backup": "Archive accounts or highlights once; needs no configuration.",
    "accounts": "List the accounts that are followed, their state and their size.",
    "add": "Follow accounts from the next run on.",
    "remove": "Stop following an account; what is archived stays.",
    "run": "Archive every account of the configuration; run it each night.",
    "worker": "Visit accounts for runs that several machines share.",
    "plan": "Show what the next run would do and cost.",
    "status": "Show the archive in numbers; units left at the API.",
    "metrics": "Write the numbers of the archive for Prometheus.",
    "changes": "List what owners edited, added and removed.",
    "search": "Find accounts, highlights and items by words.",
    "gaps": "List what the archive lacks, and why.",
    "costs": "Sum up what was paid, by day, account, endpoint or run.",
    "show": "Show one account, highlight or item, and where its files are.",
    "export": "Export pictures, web pages, tables or a BagIt bag.",
    "query": "Query the archive with SQL, read-only.",
    "serve": "Show the archive in a browser, with a viewer and search.",
    "datasette": "Write what Datasette needs to show the archive with its pictures.",
    "verify": "Check files, stored answers, journal and database; repair.",
    "adopt": "Take in what other tools have downloaded; free.",
    "reread": "Read stored answers again, and add what the database lacks; free.",
    "db": "Upgrade, copy or rebuild the database.",
    "storage": "Move pictures, answers and journal to a bucket, or back.",
    "forget": "Delete an account and every trace of it.",
    "completion": "Print the script that completes names in bash, zsh or fish.",
    "demo": "Try it: two nights against a stand-in; no key, no network, no cost.",
}
