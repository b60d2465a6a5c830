"""What is kept, held against what the rows say: blobs and answers. It finds; what to do about it is decided elsewhere."""

from archiver.verify.answers import AnswerReport, LostAnswer, verify_answers, verify_segments
from archiver.verify.blobs import Damage, Problem, VerifyReport, verify_blobs
from archiver.verify.mend import mend
from archiver.verify.share import share_of, start_of_day

__all__ = [
    "AnswerReport",
    "Damage",
    "LostAnswer",
    "Problem",
    "VerifyReport",
    "mend",
    "share_of",
    "start_of_day",
    "verify_answers",
    "verify_blobs",
    "verify_segments",
]
