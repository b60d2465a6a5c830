"""List every item of an archive with its files, from the journal alone: no database, no other program.

Usage: python list_archive.py ARCHIVE. It prints a line for each file: username, highlight, item, role, path.
It uses only Python's standard library. docs/archive-format.md describes the files that it reads.
"""

import json
import sys
import zlib
from pathlib import Path


def lines_of(path):
    """Yield the lines of a file; one that a power cut left incomplete ends at its last whole part."""
    data = path.read_bytes()
    while data:
        unpack = zlib.decompressobj(wbits=31)
        try:
            text = unpack.decompress(data)
        except zlib.error:
            return
        if not unpack.eof:
            return
        data = unpack.unused_data
        yield from text.splitlines()


def read_journal(root):
    """Return all rows, by table and key: the newest snapshot, and every change after it."""
    tables, last = {}, 0
    for path in newest_snapshot_first(sorted(root.glob("journal/*/*/*.jsonl.gz"))):
        lines = lines_of(path)
        next(lines, None)  # the header: archive, format, program, schema; none after a crash
        for line in map(json.loads, lines):
            if line["seq"] <= last:
                continue  # written again after a crash
            last = line["seq"]
            for table, changes in line["rows"].items():
                rows = tables.setdefault(table, {})
                for change in changes:
                    for key in change.get("keys") or [change["key"]]:
                        if change.get("removed"):
                            rows.pop(tuple(key), None)
                        else:
                            rows.setdefault(tuple(key), {}).update(change["set"])
    return tables


def newest_snapshot_first(paths):
    """Return the files from the newest complete snapshot on: nothing before it is needed."""
    for number in range(len(paths) - 1, -1, -1):
        lines = list(lines_of(paths[number]))
        if len(lines) > 1 and json.loads(lines[1]).get("snapshot") and b'"snapshot":"end"' in lines[-1]:
            return paths[number:]
    return paths


def main(root):
    tables = read_journal(root)
    rows = {name: tables.get(name, {}) for name in ("users", "highlights", "highlight_items", "files")}
    files = {}
    for file in rows["files"].values():
        files.setdefault(file["item_pk"], []).append(file)
    for place in sorted(
        rows["highlight_items"].values(), key=lambda row: (row["highlight_pk"], row["position"])
    ):
        highlight = rows["highlights"][(place["highlight_pk"],)]
        username = rows["users"][(highlight["user_pk"],)]["username"]
        for file in files.get(place["item_pk"], [{"role": "missing", "sha256": ""}]):
            digest = file["sha256"]
            path = root / "blobs" / digest[:2] / digest if digest else ""
            print(username, highlight["title"], place["item_pk"], file["role"], path, sep="\t")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
