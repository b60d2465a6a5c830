"""``python -m archiver`` and the ``archiver`` command."""

from __future__ import annotations

import atexit
import gc
import sys

from archiver.cli import main as front


def main() -> int:
    """The command line, in a process that is its own; see ``cli.main``.

    What a short process makes are modules above all, and they stay: to look for garbage among them, and once more at
    the end, is a fourth of its time.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    return front.main()


if __name__ == "__main__":
    sys.exit(main())
