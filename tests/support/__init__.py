"""What tests share: archives, servers that fail, samples, and checks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root of the checkout: a child process that imports ``tests.support`` needs it in PYTHONPATH."""
