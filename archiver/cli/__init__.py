"""The command line: options → Config → one call of ``Archive`` → output. Only it imports click and tqdm."""
