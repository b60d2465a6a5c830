"""Search by words: how texts are split into words, how a query is parsed, and how matches are found."""
