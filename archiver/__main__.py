"""``python -m archiver`` and the ``archiver`` command."""

from __future__ import annotations

import sys

from archiver.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
