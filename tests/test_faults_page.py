"""The page of the fault matrix says what is so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_grave_fault_has_a_test_or_a_reason_and_the_page_is_new() -> None:
    """docs/faults.md is what the matrix and the tests make of it; no row of severity 1 or 2 stands alone."""
    check = [sys.executable, str(ROOT / "scripts" / "faults.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
