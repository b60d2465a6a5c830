"""SEAM 1, the paid API: ``tariff`` (what a call costs), ``client`` (one attempt → Answer), ``wire`` (Answer → model)."""
