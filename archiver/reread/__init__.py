"""Replay of the stored answers: what a newer version understands, or a restored database lacks, is added."""
