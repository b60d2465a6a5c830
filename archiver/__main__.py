"""``python -m archiver`` and the ``archiver`` command."""

from __future__ import annotations

import atexit
import gc
import signal
import sys

# While modules are imported, an interrupt ends the process without a traceback.
_handler = signal.getsignal(signal.SIGINT)
if _handler is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from archiver.cli.main import main as run_command_line  # noqa: E402


def main() -> int:
    """Run the command line in a process of its own; see ``cli.main``.

    A short command mostly loads modules, which stay: collecting garbage among them, and again at exit, would
    take a quarter of its time.
    """
    signal.signal(signal.SIGINT, _handler)
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    return run_command_line()


if __name__ == "__main__":
    sys.exit(main())
