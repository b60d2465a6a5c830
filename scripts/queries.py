#!/usr/bin/env python3
"""Write the named queries (archiver/queries/*.sql) into docs/schema.md.

    scripts/queries.py [--check]

``--check`` writes nothing, and fails if the page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "schema.md"
BEGIN, END = "<!-- scripts/queries.py -->\n", "<!-- /scripts/queries.py -->\n"


def format_section() -> str:
    """Return the section about the named queries: for each what it shows, its command line and its SQL.

    The first line of a query's file is a comment with what it shows, then the parameters of an example.
    """
    parts = []
    for path in sorted((ROOT / "archiver" / "queries").glob("*.sql")):
        comment, _, sql = path.read_text(encoding="utf-8").partition("\n")
        title, _, parameters = comment.removeprefix("-- ").partition(" -p ")
        command = f"archiver query {path.stem}{f' -p {parameters}' if parameters else ''}"
        parts.append(f"**{title.rstrip(':')}**\n`{command}`\n\n```sql\n{sql}```\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check the page, and return the exit code."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    new_page = f"{before}{BEGIN}\n{format_section()}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new_page, encoding="utf-8")
        return 0
    if page != new_page:
        print("docs/schema.md is out of date: run python scripts/queries.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
