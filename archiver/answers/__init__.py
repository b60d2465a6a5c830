"""SEAM 4: what was paid for, kept whole before anyone parses it."""

from __future__ import annotations

from archiver.answers.store import AnswerStore, AnswerWriter, holds_trays, origin_of

__all__ = ["AnswerStore", "AnswerWriter", "holds_trays", "origin_of"]
