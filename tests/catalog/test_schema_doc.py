"""The page about the tables tells all of them. Its views and examples: ``test_reading``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archiver.catalog.tables import metadata

_PAGE = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
_SECTIONS = re.split(r"^(?=\*\*`|## |What an item carries)", _PAGE, flags=re.MULTILINE)
_ENTRIES = {"mentions", "links", "hashtags", "locations", "stickers", "reshares", "sponsors"}


@pytest.mark.parametrize("table", metadata.tables)
def test_every_column_is_told(table: str) -> None:
    """In the paragraph or list of its table."""
    if table in _ENTRIES:
        (told,) = re.findall(rf"^\| `{table}` \|.*$", _PAGE, flags=re.MULTILINE)
        told += "`item_pk` `position`"
    else:
        (told,) = [section for section in _SECTIONS if section.startswith(f"**`{table}`**")]
    columns = [column.name for column in metadata.tables[table].columns]
    assert [name for name in columns if f"`{name}`" not in told] == []
