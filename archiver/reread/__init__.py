"""Replay of the stored answers, to add what a newer version understands or a restored database lacks."""
