"""Search by words: how texts become words, how a query is read, and what it finds."""
