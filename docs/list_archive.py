"""List every item of an archive with its files, from the journal alone: no database, no other program.

Usage: python list_archive.py ARCHIVE. It prints a line for each file: username, highlight, item, role, path.
If lines are missing between two lines of the journal, it says so on stderr, and lists what the lines before
give (exit code 1). It uses only Python's standard library. docs/archive-format.md describes what it reads.
"""

import json
import sys
import zlib
from pathlib import Path


def lines_of(path):
    """Yield the lines of a file up to its last whole part: a power cut may leave an incomplete one."""
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
    """Return all rows, by table and key, and what is wrong with the journal, or ''.

    The rows are those of the newest snapshot, with every change after it.
    """
    tables, last, equal = {}, 0, set()
    paths = sorted(root.glob("journal/*/*/*.jsonl.gz"), key=lambda path: path.name)  # not by month
    for path in newest_snapshot_first(paths):
        lines = lines_of(path)
        next(lines, None)  # the header: archive, format, program, schema; none after a crash
        for line in map(json.loads, lines):
            after = (line.get("after") or {}).get("seq")  # the line before a snapshot that may be lost
            if line["seq"] <= last:
                continue  # written again after a crash
            if last and line["seq"] != last + 1 and (after is None or after not in equal):
                return tables, f"{path}: lines {last + 1} to {line['seq'] - 1} are missing"
            last = line["seq"]
            equal = {last} if "snapshot" not in line else equal | {last, after}
            for table, changes in line["rows"].items():
                rows = tables.setdefault(table, {})
                for change in changes:
                    for key in change.get("keys") or [change["key"]]:
                        if change.get("removed"):
                            rows.pop(tuple(key), None)
                        else:
                            rows.setdefault(tuple(key), {}).update(change["set"])
    return tables, "" if last else f"{root}: no journal that can be read"


def newest_snapshot_first(paths):
    """Return the files from the newest complete snapshot on: nothing before it is needed."""
    for number in range(len(paths) - 1, -1, -1):
        lines = list(lines_of(paths[number]))
        first = json.loads(lines[1]) if len(lines) > 1 else {}
        is_own = first.get("seq") == int(paths[number].name[:12])  # else somebody has renamed the file
        if is_own and first.get("snapshot") and b'"snapshot":"end"' in lines[-1]:
            return paths[number:]
    return paths


def main(root):
    tables, problem = read_journal(root)
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
    return problem or 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python list_archive.py ARCHIVE")
    try:
        sys.exit(main(Path(sys.argv[1])))
    except BrokenPipeError:  # as in: list_archive.py ARCHIVE | head
        sys.stderr.close()
