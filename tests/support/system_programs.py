"""Programs of the system that tests need; scripts/setup installs them."""

from __future__ import annotations

import shutil
import sys

import pytest


def require_program(program: str, package: str) -> str:
    """Return the path of a program. Without it the test fails on Linux and is skipped elsewhere.

    ``package``: the package of Debian that has it.
    """
    found = shutil.which(program, path="/usr/bin:/usr/sbin:/usr/local/bin")
    if found is None:
        (pytest.fail if sys.platform == "linux" else pytest.skip)(
            f"{program} is missing; scripts/test installs it for root (apt-get install {package})"
        )
    return found
