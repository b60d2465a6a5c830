"""Answers of the API that were paid for, stored whole before anything parses them."""
