"""How a night is told to those who are not there: a report is sent, a monitor is pinged. It never fails a run."""

from __future__ import annotations

from archiver.report.address import Address
from archiver.report.courier import Courier
from archiver.report.letter import Letter

__all__ = ["Address", "Courier", "Letter"]
