"""A program: ``archiver`` with these arguments, killed before its n-th step (see ``step_killer``).

Arguments: n, a file for the number of steps if it comes to its end before, and those of ``archiver``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archiver.cli.main import main
from tests.support.crash.step_killer import count_steps

if __name__ == "__main__":
    steps = count_steps(int(sys.argv[1]))
    code = main(sys.argv[3:])
    Path(sys.argv[2]).write_text(str(next(steps)))
    sys.exit(code)
