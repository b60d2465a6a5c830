"""The paid API: ``endpoints`` (calls and prices), ``client`` (one attempt), ``wire`` (answer → model)."""
