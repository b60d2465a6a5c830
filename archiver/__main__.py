"""``python -m archiver`` and the ``archiver`` command."""

from __future__ import annotations

import atexit
import gc
import sys

from archiver.cli.main import main as run_command_line


def main() -> int:
    """Run the command line in a process of its own; see ``cli.main``.

    A short command mostly loads modules, which stay: collecting garbage among them, and again at exit, would
    take a quarter of its time.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    return run_command_line()


if __name__ == "__main__":
    sys.exit(main())
