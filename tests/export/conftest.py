"""A filled archive, for all tests of exports that do not make their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.export_archive import ExportHarness


@pytest.fixture
def harness(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """A filled archive on SQLite."""
    return ExportHarness.filled(tmp_path, archive_copies)
