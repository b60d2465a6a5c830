#!/usr/bin/env python3
"""Write the named queries (archiver/queries/*.sql) into docs/schema.md. ``--check`` writes nothing, and fails if they stand there otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "schema.md"
BEGIN, END = "<!-- scripts/queries.py -->\n", "<!-- /scripts/queries.py -->\n"


def section() -> str:
    """The queries as the page shows them: name, what it answers, SQL."""
    parts = []
    for path in sorted((ROOT / "archiver" / "queries").glob("*.sql")):
        about, _, sql = path.read_text(encoding="utf-8").partition("\n")
        answers, _, example = about.removeprefix("-- ").partition(" -p ")
        call = f"archiver query {path.stem}{f' -p {example}' if example else ''}"
        parts.append(f"**{answers.rstrip(':')}** `{call}`\n\n```sql\n{sql}```\n")
    return "\n".join(parts)


def main() -> int:
    """0 if the page is as it should be now."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{section()}\n{END}{after}"
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if page != wanted:
        print(f"{PAGE} does not show the named queries as they are: run scripts/queries.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
